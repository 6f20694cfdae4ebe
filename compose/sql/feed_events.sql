-- The polling connector reads the whole table every 5 s, so the feed stops adding to it some day.
WITH chosen AS (
    SELECT
        1 + floor(random() * 5)::int AS customer,
        (ARRAY['login', 'product_view', 'search', 'add_to_cart', 'checkout'])[1 + floor(random() * 5)::int] AS event_type
)
INSERT INTO customer_events (customer_id, customer_name, event_type, product, details)
SELECT customer,
    (ARRAY['Amina Haddad', 'Jonas Weber', 'Lucia Romano', 'Diego Silva', 'Mei Tanaka'])[customer],
    event_type,
    CASE WHEN event_type <> 'login' THEN 'Espresso Machine' END,
    'from a laptop'
FROM chosen
WHERE (SELECT count(*) FROM customer_events) < 5000;
