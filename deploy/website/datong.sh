#!/bin/sh
# Run once by the MariaDB image: two example tables, and the account that Datong reads the binlog and writes rows with.
set -eu
mariadb --user=root --password="$MARIADB_ROOT_PASSWORD" "$MARIADB_DATABASE" <<SQL
CREATE USER 'datong'@'%' IDENTIFIED BY '$(printf %s "$WEBSITE_PASSWORD" | sed "s/['\\\\]/\\\\&/g")';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, SLAVE MONITOR ON *.* TO 'datong'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON shop.* TO 'datong'@'%';

CREATE TABLE members (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    mobile varchar(20) NOT NULL UNIQUE,
    nick_name varchar(64),
    score bigint NOT NULL DEFAULT 0
);
CREATE TABLE stock (
    sku varchar(32) PRIMARY KEY,
    quantity int NOT NULL DEFAULT 0
);
SQL
