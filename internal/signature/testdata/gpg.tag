object 1f62423be09a5ef327f01befe860d0f05291e6e7
type commit
tag v1.0.0
tagger Fixture <fixture@example.com> 1795645140 +0000

A release
-----BEGIN PGP SIGNATURE-----

iIoEABYIADIWIQSEAdLuiinhQeaVWBX1ztjtNzjJrAUCawde1BQcZml4dHVyZUBl
eGFtcGxlLmNvbQAKCRD1ztjtNzjJrJNeAP93cyQv13zjjZhyfWs+ts3e1tSI/4Nc
6El4d0Y5Zm4yNgEAhBhsebRe39/Yl2LNatNjZQb5MlkwDb0NNGSpa10zNgQ=
=7PQb
-----END PGP SIGNATURE-----
