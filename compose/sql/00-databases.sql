-- For the PostgreSQL container: its start-up runs this file once, on an empty data folder.
\i /demo/roles.sql
CREATE DATABASE rating_system_demo;
CREATE DATABASE customers;
\connect rating_system_demo
\i /demo/rating_system_demo.sql
\connect customers
\i /demo/customers.sql
