#!/bin/sh
# Makes the secrets that compose.yaml mounts: passwords, keys and certificates, each in a file of its own under secrets/.
#
#   sh examples/compose/make-secrets.sh            needs openssl, 1.1.1 or newer
#
# What stands there is kept, so it may be run again. To renew the certificates delete secrets/ca.pem first; a lost secrets/signing.key
# cannot be made again: the log goes on under a new key from there.
set -eu
umask 077
cd "$(dirname "$0")/secrets"
# The folder is closed; the files in it are not, because the user inside a container is not the one who made them.
chmod 0700 .
tenant="${TENANT:-sample}"
days=397

is_missing() {
  [ ! -s "$1" ]
}

# A file appears whole or not at all: what was cut off by a full disk must not count as a secret.
put() {
  cat > "$1.part"
  if [ ! -s "$1.part" ]; then echo "$1 could not be made." >&2; exit 1; fi
  chmod 0444 "$1.part"
  mv -f "$1.part" "$1"
}

password() {
  if is_missing "$1"; then openssl rand -hex 24 | tr -d '\n' | put "$1"; fi
}

address() {
  if is_missing "$1_url"; then
    printf 'postgresql://%s:%s@postgres:5432/portcullis?sslmode=verify-full&sslrootcert=/run/secrets/ca' "$2" "$(cat "$1_password")" | put "$1_url"
  fi
}

certificate() { # name, uses, subject alternative names
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout new.key -out "$1.csr" -subj "/O=portcullis-compose/CN=$1" 2> /dev/null
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n%s\n' "$2" "${3:+subjectAltName=$3}" > extensions
  openssl x509 -req -in "$1.csr" -CA ca.new -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -days "$days" -sha256 -extfile extensions -out new.pem 2> /dev/null
  put "$1.key" < new.key
  put "$1.pem" < new.pem
  rm -f "$1.csr" new.key new.pem extensions
}

for name in database_superuser database_owner database_gateway database_signer database_auditor database_eraser keycloak_administrator keycloak_people; do
  password "${name}_password"
done
password oidc_client_secret
address database_owner deployer
address database_gateway gateway
address database_signer signer
address database_auditor auditor
address database_eraser eraser
if is_missing digest_key; then openssl rand -base64 32 | tr -d '\n' | put digest_key; fi

# The signer's key is 32 raw bytes (RFC 8032). Everybody else gets the public half in the form of a signed note's verifier key
# (C2SP signed-note): name, first four bytes of SHA-256(name, line feed, 1, key) in hex, base64 of 1 and the key.
if is_missing signing.key; then
  openssl genpkey -algorithm ed25519 -outform DER 2> /dev/null | tail -c 32 | put signing.key
  rm -f verifier_key
fi
if is_missing verifier_key; then
  origin="portcullis/$tenant"
  # The fixed head of a PKCS #8 wrapping of an Ed25519 key (RFC 8410).
  { printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040'; cat signing.key; } | openssl pkey -inform DER -pubout -outform DER | tail -c 32 > public
  id="$({ printf '%s\n\001' "$origin"; cat public; } | openssl dgst -sha256 -binary | head -c 4 | od -An -tx1 | tr -d ' \n')"
  printf '%s+%s+%s' "$origin" "$id" "$({ printf '\001'; cat public; } | openssl base64 -A)" | put verifier_key
  rm -f public
fi

# One authority for this installation. Its key signs these five and is thrown away: nobody can add a sixth.
if is_missing ca.pem; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.new -days "$days" -subj "/O=portcullis-compose/CN=authority" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" 2> /dev/null
  certificate postgres serverAuth "DNS:postgres"
  certificate opensearch serverAuth,clientAuth "DNS:opensearch,DNS:localhost"
  certificate keycloak serverAuth "DNS:keycloak.localhost"
  certificate portcullis-gateway clientAuth ""
  certificate opensearch-health clientAuth ""
  put ca.pem < ca.new
  rm -f ca.key ca.new
fi
echo "Secrets are in $(pwd). The password of the sample people is in keycloak_people_password, the administrator's of Keycloak in keycloak_administrator_password."
