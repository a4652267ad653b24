"""headnode-agent: the small part that runs on compute nodes. It announces its node, reports on it, and passes on AWS's notices.

It loads nothing of AWS's libraries and no pydantic (they would be most of its memory): announcing is a short-lived process of its
own (`announce`), and `config` checks its few settings by hand.
"""
