-- Run once, by the image of PostgreSQL, when its volume is empty: the database, its owner, and a login for each duty.
-- What a duty may do is granted by `portcullis db upgrade`; no login here can do more than its group, and none is a superuser.
\set owner_password `cat /run/secrets/database_owner_password`
\set gateway_password `cat /run/secrets/database_gateway_password`
\set signer_password `cat /run/secrets/database_signer_password`
\set auditor_password `cat /run/secrets/database_auditor_password`
\set eraser_password `cat /run/secrets/database_eraser_password`
CREATE ROLE deployer LOGIN CREATEROLE PASSWORD :'owner_password';
CREATE DATABASE portcullis OWNER deployer;
REVOKE CONNECT, TEMPORARY ON DATABASE portcullis FROM PUBLIC;
-- Made as the deployer, who thereby may hand them rights; the migrations find them made.
SET ROLE deployer;
CREATE ROLE portcullis_owner NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_gateway NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_signer NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_auditor NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_eraser NOLOGIN NOBYPASSRLS;
GRANT CONNECT ON DATABASE portcullis TO portcullis_gateway, portcullis_signer, portcullis_auditor, portcullis_eraser;
RESET ROLE;
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password' IN ROLE portcullis_gateway;
CREATE ROLE signer LOGIN PASSWORD :'signer_password' IN ROLE portcullis_signer;
CREATE ROLE auditor LOGIN PASSWORD :'auditor_password' IN ROLE portcullis_auditor;
CREATE ROLE eraser LOGIN PASSWORD :'eraser_password' IN ROLE portcullis_eraser;
