#!/bin/sh
# Runs once, on an empty volume: a database and an owner for each of the three.
set -eu
psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 \
  --set keeper="$KEEPER_PASSWORD" --set tracking="$TRACKING_PASSWORD" --set flows="$FLOWS_PASSWORD" <<'SQL'
CREATE ROLE keeper LOGIN CREATEROLE PASSWORD :'keeper';
CREATE ROLE tracking LOGIN PASSWORD :'tracking';
CREATE ROLE flows LOGIN PASSWORD :'flows';
CREATE DATABASE catalogue OWNER keeper;
CREATE DATABASE tracking OWNER tracking;
CREATE DATABASE flows OWNER flows;
REVOKE ALL ON DATABASE catalogue, tracking, flows FROM PUBLIC;
SQL
