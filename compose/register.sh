#!/bin/sh
# Registers the demo's connectors and SQL. What exists already is fine, so it can run at every start.
set -eu

post() { # url, curl's data argument; prints the status, keeps the answer in $answer
    answer=$(curl --silent --show-error --max-time 60 --write-out '\n%{http_code}' \
        --header 'Content-Type: application/json' --data-binary "$2" "$1")
    status=${answer##*
}
}

for file in /demo/connectors/*.json; do
    post http://cdc-capture:8083/connectors "@$file"
    case $status in
        2?? | 409) echo "connector ${file##*/}: $status" ;;
        *) echo "connector ${file##*/} is refused: $answer" >&2; exit 1 ;;
    esac
done

# the SQL reads the schema of the captured table, which is there once capture has sent a row
curl --silent --fail --output /dev/null --retry 180 --retry-delay 1 --retry-all-errors \
    http://schema-registry:8081/subjects/ratingserver.rating.rates-value/versions/latest

# one statement a call, so that a run that was cut short is completed by the next
tr '\n;' ' \n' < /demo/statements.sql | while IFS= read -r statement; do
    sql=$(printf '%s;' "$statement" | sed 's/\\/\\\\/g; s/"/\\"/g')
    post http://rate-aggregator:8088/ksql "{\"ksql\": \"$sql\", \"streamsProperties\": {}}"
    case $status in
        2??) echo "SQL: $status" ;;
        *) case $answer in
            *'already exists'*) echo "SQL: exists" ;;
            *) echo "the SQL is refused: $answer" >&2; exit 1 ;;
        esac ;;
    esac
done
