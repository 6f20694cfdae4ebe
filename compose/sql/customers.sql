CREATE TABLE customer_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL,
    customer_name text NOT NULL,
    event_type text NOT NULL,
    product text,
    details text,
    created_on timestamptz NOT NULL DEFAULT now()
);

INSERT INTO customer_events (customer_id, customer_name, event_type, product, details) VALUES
    (1, 'Amina Haddad', 'login', NULL, 'from a phone'),
    (2, 'Jonas Weber', 'product_view', 'Espresso Machine', 'came from search');
