"""The dashboards as code: each is written once, with its texts in Korean and in English."""
