"""Where images live on the network: credentials, authorization, transport, the client, uploads.

`client` is the door; `upload` sends one blob through it. Nothing here is imported before a registry is asked for, for
`transport` brings in urllib3.
"""
