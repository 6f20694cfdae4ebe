CREATE SCHEMA rating;

CREATE TABLE rating.rates (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_name text NOT NULL,
    customer_email text,
    product text NOT NULL,
    country_name text NOT NULL,
    region text,
    rate int NOT NULL CHECK (rate BETWEEN 1 AND 5),
    comment text,
    created_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE rating.rates REPLICA IDENTITY FULL;

INSERT INTO rating.rates (customer_name, customer_email, product, country_name, region, rate, comment) VALUES
    ('Amina Haddad', 'amina.haddad@example.com', 'Trail Running Shoes', 'Egypt', 'Africa', 5, 'Light and comfortable from the first day.'),
    ('Jonas Weber', 'jonas.weber@example.com', 'Espresso Machine', 'Germany', 'Europe', 4, 'Good coffee, a little loud.'),
    ('Lucia Romano', 'lucia.romano@example.com', 'Wireless Headphones', 'Italy', 'Europe', 3, 'Fine for the price.'),
    ('Diego Silva', 'diego.silva@example.com', 'Camping Tent', 'Brazil', 'South America', 4, 'Stood through a storm.'),
    ('Mei Tanaka', 'mei.tanaka@example.com', 'Desk Lamp', 'Japan', 'Asia', 5, 'Warm light and a solid foot.');
