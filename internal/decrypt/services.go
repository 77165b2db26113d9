package decrypt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/kms"
	vault "github.com/hashicorp/vault/api"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/yaml"
)

// maxDataKey bounds a decrypted data key, or part of one, in bytes. SOPS makes them of 32, and 33 for parts.
const maxDataKey = 1 << 10

// maxAttempts bounds how many recipients of one file are tried.
const maxAttempts = 64

// session opens the data key of one file: it is the key service that SOPS asks.
type session struct {
	keyservice.UnimplementedKeyServiceServer
	ctx      context.Context //nolint:containedctx // SOPS passes on none
	keys     *Keys
	attempts []attempt
}

// attempt is a recipient of a file that could not be opened.
type attempt struct {
	recipient string
	why       string // "" where the Secret has nothing for it
	transient bool   // another try may go better
}

var errNotOpened = errors.New("not opened")

// Decrypt implements keyservice.KeyServiceServer.
func (s *session) Decrypt(_ context.Context, req *keyservice.DecryptRequest) (*keyservice.DecryptResponse, error) {
	if len(s.attempts) >= maxAttempts {
		return nil, errNotOpened
	}
	made := attempt{recipient: recipientOf(req.Key)}
	var plain []byte
	var err error
	switch k := req.Key.KeyType.(type) {
	case *keyservice.Key_AgeKey:
		plain, err = s.keys.openAge(req.Ciphertext)
	case *keyservice.Key_PgpKey:
		plain, err = s.keys.openPGP(req.Ciphertext)
	case *keyservice.Key_KmsKey:
		plain, err = s.keys.openAWS(s.ctx, k.KmsKey, req.Ciphertext) //nolint:contextcheck // SOPS passes on none
	case *keyservice.Key_GcpKmsKey:
		plain, err = s.keys.openGCP(s.ctx, k.GcpKmsKey, req.Ciphertext) //nolint:contextcheck // SOPS passes on none
	case *keyservice.Key_AzureKeyvaultKey:
		plain, err = s.keys.openAzure(s.ctx, k.AzureKeyvaultKey, req.Ciphertext) //nolint:contextcheck // SOPS passes on none
	case *keyservice.Key_VaultKey:
		plain, err = s.keys.openVault(s.ctx, k.VaultKey, req.Ciphertext) //nolint:contextcheck // SOPS passes on none
	default:
		made.why, err = "which is not supported", errNotOpened
	}
	if s.keys.own && made.why == "" {
		plain, err = openOwn(s.ctx, req) //nolint:contextcheck // SOPS passes on none
	}
	if err == nil {
		return &keyservice.DecryptResponse{Plaintext: plain}, nil
	}
	if made.why == "" && !errors.Is(err, errNotOpened) {
		made.why, made.transient = describe(err)
	}
	s.attempts = append(s.attempts, made)
	return nil, errNotOpened
}

// recipientOf names a key in messages.
func recipientOf(key *keyservice.Key) string {
	switch k := key.KeyType.(type) {
	case *keyservice.Key_AgeKey:
		return k.AgeKey.Recipient
	case *keyservice.Key_PgpKey:
		return "PGP " + k.PgpKey.Fingerprint
	case *keyservice.Key_KmsKey:
		return k.KmsKey.Arn
	case *keyservice.Key_GcpKmsKey:
		return k.GcpKmsKey.ResourceId
	case *keyservice.Key_AzureKeyvaultKey:
		return k.AzureKeyvaultKey.VaultUrl + "/keys/" + k.AzureKeyvaultKey.Name
	case *keyservice.Key_VaultKey:
		return k.VaultKey.VaultAddress + "/v1/" + k.VaultKey.EnginePath + "/keys/" + k.VaultKey.KeyName
	default:
		return "a key of another service"
	}
}

// openOwn opens a key as the command sops does for the person who runs it. A Vault token is sent to that
// person's own Vault alone: the address stands in the file.
func openOwn(ctx context.Context, req *keyservice.DecryptRequest) ([]byte, error) {
	own := os.Getenv("VAULT_ADDR") //nolint:forbidigo // SOPS reads the person's environment by itself, and sends the token from there
	if k := req.Key.GetVaultKey(); k != nil && strings.TrimSuffix(own, "/") != strings.TrimSuffix(k.VaultAddress, "/") {
		return nil, plainError("VAULT_ADDR is not this address, so that no token is sent there")
	}
	answer, err := keyservice.Server{}.Decrypt(ctx, req)
	if req.Key.GetAgeKey() != nil && err != nil || req.Key.GetPgpKey() != nil && err != nil {
		return nil, errNotOpened // by far the most often: there is no such key
	}
	if err != nil {
		return nil, err
	}
	return answer.Plaintext, nil
}

// Encrypt implements keyservice.KeyServiceServer: nothing is encrypted here.
func (s *session) Encrypt(context.Context, *keyservice.EncryptRequest) (*keyservice.EncryptResponse, error) {
	return nil, errNotOpened
}

func (k *Keys) openAge(ciphertext []byte) ([]byte, error) {
	if len(k.age) == 0 {
		return nil, errNotOpened
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(ciphertext)), k.age...)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return nil, errNotOpened
	}
	if err != nil {
		return nil, plainError("the key in the file is damaged")
	}
	return readKey(r)
}

func readKey(r io.Reader) ([]byte, error) {
	key, err := io.ReadAll(io.LimitReader(r, maxDataKey))
	if err != nil {
		return nil, plainError("the key in the file is damaged")
	}
	return key, nil
}

func (k *Keys) openPGP(ciphertext []byte) ([]byte, error) {
	if len(k.pgp) == 0 {
		return nil, errNotOpened
	}
	block, err := pgparmor.Decode(bytes.NewReader(ciphertext))
	if err != nil {
		return nil, plainError("the key in the file is damaged")
	}
	message, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
	if err != nil {
		return nil, errNotOpened // by far the most often: for another key
	}
	return readKey(message.UnverifiedBody)
}

// awsCredentials reads the file that Flux reads.
func awsCredentials(value []byte) (aws.CredentialsProvider, error) {
	var file struct {
		ID      string `json:"aws_access_key_id"`
		Secret  string `json:"aws_secret_access_key"`
		Session string `json:"aws_session_token"`
	}
	if err := yaml.Unmarshal(value, &file); err != nil || file.ID == "" || file.Secret == "" {
		return nil, plainError("must be YAML with aws_access_key_id and aws_secret_access_key")
	}
	return credentials.NewStaticCredentialsProvider(file.ID, file.Secret, file.Session), nil
}

// awsARN is that of a key; the region becomes a part of a host name.
var awsARN = regexp.MustCompile(`^arn:aws[\w-]*:kms:[a-z0-9-]+:[0-9]+:(?:key|alias)/[\w/-]+$`)

func (k *Keys) openAWS(ctx context.Context, key *keyservice.KmsKey, ciphertext []byte) ([]byte, error) {
	switch {
	case k.aws == nil:
		return nil, errNotOpened
	case !awsARN.MatchString(key.Arn):
		return nil, plainError("this is no ARN of a key")
	}
	encryption := make(map[string]*string, len(key.Context))
	for name, value := range key.Context {
		encryption[name] = &value
	}
	master := kms.NewMasterKey(key.Arn, key.Role, encryption) // without the profile: that is a file of this machine
	master.EncryptedKey = string(ciphertext)
	kms.NewCredentialsProvider(k.aws).ApplyToMasterKey(master)
	return master.DecryptContext(ctx)
}

// gcpCredentials takes the key of a service account. Other types of credentials make the process read files
// of its own, or run programs.
func gcpCredentials(value []byte) ([]byte, error) {
	var file struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(value, &file); err != nil || file.Type != "service_account" {
		return nil, plainError(`must be the JSON key of a service account, with "type": "service_account"`)
	}
	return bytes.TrimSpace(value), nil
}

func (k *Keys) openGCP(ctx context.Context, key *keyservice.GcpKmsKey, ciphertext []byte) ([]byte, error) {
	if k.gcp == nil {
		return nil, errNotOpened
	}
	master := gcpkms.NewMasterKeyFromResourceID(key.ResourceId)
	master.EncryptedKey = string(ciphertext)
	gcpkms.CredentialJSON(k.gcp).ApplyToMasterKey(master)
	return master.DecryptContext(ctx)
}

// azureCredentials reads the file that Flux reads: a service principal, by secret or certificate. The
// identity of the machine, which Flux takes where only a client is named, is the hub's and not lent.
func azureCredentials(value []byte) (azcore.TokenCredential, error) {
	var file struct {
		TenantID, ClientID, ClientSecret, ClientCertificate, ClientCertificatePassword string
		ClientCertificateSendChain                                                     bool
		AuthorityHost                                                                  string
		AppID, Tenant, Password                                                        string
	}
	if err := yaml.Unmarshal(value, &file); err != nil {
		return nil, plainError("is no YAML or JSON")
	}
	if file.TenantID == "" && file.AppID != "" {
		file.TenantID, file.ClientID, file.ClientSecret = file.Tenant, file.AppID, file.Password
	}
	host := cloud.AzurePublic
	if file.AuthorityHost != "" {
		host.ActiveDirectoryAuthorityHost = file.AuthorityHost
	}
	switch {
	case file.TenantID == "" || file.ClientID == "" || file.ClientSecret == "" && file.ClientCertificate == "":
		return nil, plainError("must have tenantId, clientId, and clientSecret or clientCertificate")
	case file.ClientSecret != "":
		c, err := azidentity.NewClientSecretCredential(file.TenantID, file.ClientID, file.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Cloud: host}})
		if err != nil {
			return nil, plainError("has a tenantId or an authorityHost that cannot be")
		}
		return c, nil
	}
	certificates, private, err := azidentity.ParseCertificates([]byte(file.ClientCertificate), []byte(file.ClientCertificatePassword))
	if err != nil {
		return nil, plainError("has a clientCertificate that cannot be read")
	}
	c, err := azidentity.NewClientCertificateCredential(file.TenantID, file.ClientID, certificates, private, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: azcore.ClientOptions{Cloud: host}, SendCertificateChain: file.ClientCertificateSendChain,
	})
	if err != nil {
		return nil, plainError("has a tenantId or an authorityHost that cannot be")
	}
	return c, nil
}

// azureHosts end the names of Azure's key vaults: the address stands in the file.
var azureHosts = []string{".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net", ".managedhsm.azure.net", ".managedhsm.azure.cn", ".managedhsm.usgovcloudapi.net"}

func (k *Keys) openAzure(ctx context.Context, key *keyservice.AzureKeyVaultKey, ciphertext []byte) ([]byte, error) {
	if k.azure == nil {
		return nil, errNotOpened
	}
	u, err := url.Parse(key.VaultUrl)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" || !slices.ContainsFunc(azureHosts, func(end string) bool { return strings.HasSuffix(u.Host, end) }) {
		return nil, plainError("this is no address of an Azure key vault")
	}
	master := azkv.NewMasterKey(key.VaultUrl, key.Name, key.Version)
	master.EncryptedKey = string(ciphertext)
	azkv.NewTokenCredential(k.azure).ApplyToMasterKey(master)
	return master.DecryptContext(ctx)
}

func (k *Keys) openVault(ctx context.Context, key *keyservice.VaultKey, ciphertext []byte) ([]byte, error) {
	switch {
	case k.vaultToken == "":
		return nil, errNotOpened
	case !slices.ContainsFunc(k.vaultAddresses, func(allowed string) bool {
		return strings.TrimSuffix(allowed, "/") == strings.TrimSuffix(key.VaultAddress, "/")
	}):
		return nil, plainError("the Secret does not allow to send its token there: name the address in its key " + vaultAddressFile)
	}
	master := hcvault.NewMasterKey(key.VaultAddress, key.EnginePath, key.KeyName)
	master.EncryptedKey = string(ciphertext)
	hcvault.Token(k.vaultToken).ApplyToMasterKey(master)
	hcvault.NewHTTPClient(&http.Client{
		Timeout: serviceTimeout,
		// The token goes with every request, wherever it is sent on to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).ApplyToMasterKey(master)
	return master.DecryptContext(ctx)
}

// serviceTimeout bounds how long a key service is waited for.
const serviceTimeout = 20 * time.Second

// describe explains why a service did not open a key, in words that are the same each time and quote nothing.
func describe(err error) (why string, transient bool) {
	var own plainError
	var api smithy.APIError
	var azure *azcore.ResponseError
	var response *vault.ResponseError
	var network net.Error
	switch {
	case errors.As(err, &own):
		return own.Error(), false
	case errors.As(err, &api):
		return "the service answers " + api.ErrorCode(), true
	case errors.As(err, &azure):
		return fmt.Sprintf("the service answers %d %s", azure.StatusCode, azure.ErrorCode), true
	case errors.As(err, &response):
		return fmt.Sprintf("the service answers %d", response.StatusCode), true
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network):
		return "the service cannot be reached", true
	}
	if s, ok := status.FromError(err); ok {
		return "the service answers " + s.Code().String(), true
	}
	return "the service did not open it", true
}
