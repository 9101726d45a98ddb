"""A small valid configuration that the configuration's tests bend."""

from __future__ import annotations

ENVIRONMENT = {"SHOP_PASSWORD": "canary-p@ss:w/rd%41#?"}

SMALL = """\
# the shop and its mini-program
version: 1
deployment: small
channels:
  shop:
    url: mysql://datong:${SHOP_PASSWORD}@127.0.0.1:3306/shop   # ours
    time_zone: Asia/Shanghai
  mini:
    url: postgresql://datong@127.0.0.1/mini
entities:
  order:
    key: [order_no, line]
    fields:
      order_no: {type: text, max_length: 32}
      line: {type: integer}
      status: {type: enum, values: [pending, paid]}
mappings:
  shop.orders:
    channel: shop
    table: orders
    entity: order   # one row is one line
    columns:
      pos: line
      no: order_no
      state: {field: status, transforms: [{enum: {0: pending, 1: paid}}]}

  mini.orders:
    channel: "mini"
    table: sales.orders
    entity: order
    enabled: true  # for now
    columns: {number: order_no, line: line, status: status}
"""
