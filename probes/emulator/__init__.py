"""A WAN in user space: delays and drops datagrams between sites, and logs each as the truth."""
