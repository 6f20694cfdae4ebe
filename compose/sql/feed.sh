#!/bin/sh
# The containers' live feed: one rating and one user event a second, now and then a correction or a withdrawal.
set -eu
while :; do
    psql --quiet --set ON_ERROR_STOP=1 --dbname rating_system_demo --file /demo/feed_ratings.sql
    psql --quiet --set ON_ERROR_STOP=1 --dbname customers --file /demo/feed_events.sql
    sleep 1
done
