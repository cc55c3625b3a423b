#!/bin/sh
# Makes the secrets of docker-compose.yml, once; what is there stays.
# Compose mounts the files as they are, and each image has a user of its own. So the files can be
# read by anybody, and the folder around them only by you.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for name in stamp.key grafana-admin-password; do
  file=$folder/$name
  if [ -e "$file" ]; then
    echo "$file is there already"
  else
    head -c 32 /dev/urandom | base64 | tr -d '\n' >"$file.new"
    chmod 444 "$file.new"
    mv "$file.new" "$file"
    echo "made $file"
  fi
done
