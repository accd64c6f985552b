#!/usr/bin/env bash
# SoftHSM 2.6.1 (Debian softhsm2 2.6.1-2.1) under python-pkcs11 0.10.1: the directory of a token
# goes away while a program has the library initialized (a volume that is mounted late, a restore),
# is used once meanwhile, and comes back with the same bytes. The token stays unusable: every call
# about it ends with CKR_GENERAL_ERROR, as while it was away, until the program calls C_Finalize and
# C_Initialize. Opening a new session, or asking for the slots again, does not help. Who holds a
# signing key in it has to begin the library anew, for all keys and sessions of the process at once.
# Seen: before ca, 2 objects; away GeneralError; back GeneralError; begun anew ca, 2 objects
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
mkdir deb tokens
(cd deb && apt-get download softhsm2=2.6.1-2.1 softhsm2-common=2.6.1-2.1 libsofthsm2=2.6.1-2.1 >/dev/null 2>&1)
for package in deb/*.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install -q --only-binary :all: python-pkcs11==0.10.1 2>/dev/null
library=$(find root -name libsofthsm2.so | head -1)
echo "directories.tokendir = $dir/tokens" > softhsm2.conf
export SOFTHSM2_CONF=$dir/softhsm2.conf
root/usr/bin/softhsm2-util --module "$library" --init-token --free --label ca --pin 1234 --so-pin 1234 >/dev/null
cat > play.py <<'PY'
import os, sys, pkcs11

library, tokens = pkcs11.lib(sys.argv[1]), sys.argv[2]

def look(when):
    try:
        token = library.get_token(token_label="ca")
        session = token.open(user_pin="1234")
        objects = len(list(session.get_objects({pkcs11.Attribute.LABEL: "key"})))
        session.close()
        print(when, "ca", objects)
    except pkcs11.PKCS11Error as error:
        print(when, type(error).__name__)

session = library.get_token(token_label="ca").open(user_pin="1234", rw=True)
session.generate_keypair(pkcs11.KeyType.RSA, 2048, label="key", store=True)
session.close()
look("before")
name = os.listdir(tokens)[0]
os.rename(os.path.join(tokens, name), "elsewhere")
look("away")
os.rename("elsewhere", os.path.join(tokens, name))
look("back")
look("back")
library.reinitialize()
look("anew")
PY
venv/bin/python play.py "$library" "$dir/tokens" | tee seen.txt
printf 'before ca 2\naway GeneralError\nback GeneralError\nback GeneralError\nanew ca 2\n' | diff - seen.txt
