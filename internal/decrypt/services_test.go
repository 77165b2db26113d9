package decrypt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/kms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/sopsclient"
)

const (
	awsKey   = "arn:aws:kms:eu-west-1:111122223333:key/12345678-aaaa-bbbb-cccc-123456789012"
	gcpKey   = "projects/shop/locations/global/keyRings/sops/cryptoKeys/sops"
	tenant   = "11111111-2222-3333-4444-555555555555"
	vaultURL = "https://vault.example.com"
)

// wrap stands for what a service does to a data key; unwrap is its reverse.
func wrap(key []byte) []byte { return append([]byte("wrapped "), key...) }

func unwrap(t *testing.T, wrapped []byte) []byte {
	key, ok := bytes.CutPrefix(wrapped, []byte("wrapped "))
	if !ok {
		t.Errorf("a service was asked to open %q", wrapped)
	}
	return key
}

// sealForService encrypts a data key for a service as SOPS writes it; false for other keys.
func sealForService(key keys.MasterKey, dataKey []byte) bool {
	switch k := key.(type) {
	case *kms.MasterKey:
		k.EncryptedKey = base64.StdEncoding.EncodeToString(wrap(dataKey))
	case *gcpkms.MasterKey:
		k.EncryptedKey = base64.StdEncoding.EncodeToString(wrap(dataKey))
	case *azkv.MasterKey:
		k.EncryptedKey = base64.RawURLEncoding.EncodeToString(wrap(dataKey))
	case *hcvault.MasterKey:
		k.EncryptedKey = "vault:v1:" + base64.StdEncoding.EncodeToString(wrap(dataKey))
	default:
		return false
	}
	return true
}

// clouds answers in place of the services, under their own names: it is the proxy of the process that asks
// them, and the authority that this process trusts.
type clouds struct {
	kmspb.UnimplementedKeyManagementServiceServer
	t      *testing.T
	env    []string
	server *httptest.Server
	tls    *tls.Config
	grpc   *grpc.Server

	mu     sync.Mutex
	asked  []string // "host path", in order; guarded by mu
	refuse bool     // guarded by mu
}

func newClouds(t *testing.T) *clouds {
	t.Helper()
	c := &clouds{t: t, grpc: grpc.NewServer()}
	kmspb.RegisterKeyManagementServiceServer(c.grpc, c)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clouds"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		DNSNames: []string{
			"kms.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com", "cloudkms.googleapis.com", "cloudkms.mtls.googleapis.com", "oauth2.googleapis.com",
			"login.microsoftonline.com", "shop.vault.azure.net", "vault.example.com",
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(c.answer))
	c.server.TLS = c.tls
	c.server.EnableHTTP2 = true
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go c.proxy(listener)
	c.env = []string{"HTTPS_PROXY=http://" + listener.Addr().String(), "SSL_CERT_FILE=" + authority, "SSL_CERT_DIR=/nonexistent", "HOME=" + t.TempDir(), "GRPC_GO_LOG_SEVERITY_LEVEL=error"}
	return c
}

// proxy ends when its listener is closed, and each connection with its process.
func (c *clouds) proxy(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			req, err := http.ReadRequest(r)
			if err != nil || req.Method != http.MethodConnect {
				return
			}
			to, err := net.Dial("tcp", c.server.Listener.Addr().String())
			if err != nil {
				return
			}
			defer to.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			go func() { _, _ = io.Copy(to, r); _ = to.Close() }()
			_, _ = io.Copy(conn, to)
		}()
	}
}

func (c *clouds) saw(what string) (refuse bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, what)
	return c.refuse
}

func (c *clouds) answer(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		c.grpc.ServeHTTP(w, r)
		return
	}
	host, _, _ := strings.Cut(r.Host, ":")
	refuse := c.saw(host + " " + r.URL.Path)
	body, _ := io.ReadAll(r.Body)
	var request map[string]any
	_ = json.Unmarshal(body, &request)
	text := func(name string) string { s, _ := request[name].(string); return s }
	reply := func(code int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(value)
	}
	switch host {
	case "kms.eu-west-1.amazonaws.com":
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		sealed, _ := base64.StdEncoding.DecodeString(text("CiphertextBlob"))
		encryption, _ := request["EncryptionContext"].(map[string]any)
		switch {
		case refuse:
			reply(http.StatusBadRequest, map[string]string{"__type": "AccessDeniedException", "message": canary})
		case r.Header.Get("X-Amz-Target") != "TrentService.Decrypt" || !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIAEXAMPLE/") ||
			r.Header.Get("X-Amz-Security-Token") != "session" || text("KeyId") != awsKey || encryption["app"] != "shop":
			c.t.Errorf("AWS was asked %s with %v", body, r.Header)
			reply(http.StatusBadRequest, map[string]string{"__type": "ValidationException"})
		default:
			reply(http.StatusOK, map[string]any{"KeyId": awsKey, "Plaintext": unwrap(c.t, sealed)})
		}
	case "oauth2.googleapis.com":
		reply(http.StatusOK, map[string]any{"access_token": "of-google", "token_type": "Bearer", "expires_in": 3600})
	case "login.microsoftonline.com":
		at := "https://login.microsoftonline.com/" + tenant
		switch {
		case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
			reply(http.StatusOK, map[string]any{"tenant_discovery_endpoint": at + "/v2.0/.well-known/openid-configuration", "api-version": "1.1", "metadata": []any{}})
		case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
			reply(http.StatusOK, map[string]any{"token_endpoint": at + "/oauth2/v2.0/token", "authorization_endpoint": at + "/oauth2/v2.0/authorize", "issuer": at + "/v2.0"})
		case refuse:
			reply(http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": canary})
		default:
			if !strings.Contains(string(body), "client_id=app") || !strings.Contains(string(body), "client_secret=of-azure") {
				c.t.Errorf("Azure was asked for a token with %s", body)
			}
			reply(http.StatusOK, map[string]any{"access_token": "of-azure", "token_type": "Bearer", "expires_in": 3600})
		}
	case "shop.vault.azure.net":
		sealed, _ := base64.RawURLEncoding.DecodeString(text("value"))
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/`+tenant+`", resource="https://vault.azure.net"`)
			reply(http.StatusUnauthorized, nil)
		case r.Header.Get("Authorization") != "Bearer of-azure" || r.URL.Path != "/keys/sops/v1/decrypt" || text("alg") != "RSA-OAEP-256":
			c.t.Errorf("Azure was asked %s %s", r.URL, body)
			reply(http.StatusForbidden, nil)
		default:
			reply(http.StatusOK, map[string]any{"kid": "https://shop.vault.azure.net/keys/sops/v1", "value": base64.RawURLEncoding.EncodeToString(unwrap(c.t, sealed))})
		}
	case "vault.example.com":
		sealed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(text("ciphertext"), "vault:v1:"))
		switch {
		case refuse:
			reply(http.StatusForbidden, map[string]any{"errors": []string{canary}})
		case r.Header.Get("X-Vault-Token") != "of-vault" || r.URL.Path != "/v1/transit/decrypt/sops":
			c.t.Errorf("Vault was asked %s with %v", r.URL, r.Header)
			reply(http.StatusForbidden, nil)
		default:
			reply(http.StatusOK, map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(unwrap(c.t, sealed))}})
		}
	default:
		c.t.Errorf("%s is asked for %s", r.Host, r.URL)
		reply(http.StatusNotFound, nil)
	}
}

// Decrypt is Google's.
func (c *clouds) Decrypt(ctx context.Context, req *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	refuse := c.saw("cloudkms.googleapis.com Decrypt")
	from, _ := metadata.FromIncomingContext(ctx)
	login := from.Get("authorization")
	switch {
	case refuse:
		return nil, status.Error(codes.PermissionDenied, canary)
	case req.GetName() != gcpKey || len(login) != 1 || !strings.HasPrefix(login[0], "Bearer "):
		c.t.Errorf("Google was asked %v by %v", req, login)
		return nil, status.Error(codes.InvalidArgument, "")
	}
	return &kmspb.DecryptResponse{Plaintext: unwrap(c.t, req.GetCiphertext())}, nil
}

// ask lets a process that is skerry-sops open a file.
func (c *clouds) ask(secret map[string][]byte, file []byte) sopsclient.Response {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), os.Args[0], "serve")
	cmd.Env = c.env
	request, err := json.Marshal(sopsclient.Request{Name: "sops-keys", Data: secret, File: file, From: render.FormatYAML, To: render.FormatYAML})
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Stdin = bytes.NewReader(request)
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	var r sopsclient.Response
	if err := json.Unmarshal(out, &r); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return r
}

// TestKeysOfServicesOpenTheirFiles has each service asked in its own protocol, under its own name, by the
// program as it is: with the credentials that the Secret holds under the names that Flux reads.
func TestKeysOfServicesOpenTheirFiles(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "shop", "private_key_id": "1", "client_email": "sops@shop.iam.gserviceaccount.com", "client_id": "1",
		"token_uri":   "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})),
	})
	if err != nil {
		t.Fatal(err)
	}
	shop := "shop"
	for name, c := range map[string]struct {
		key    keys.MasterKey
		secret map[string][]byte
		asks   string // what is asked last
		refuse string // what a refusal is told as
	}{
		"AWS KMS": {
			kms.NewMasterKey(awsKey, "", map[string]*string{"app": &shop}),
			map[string][]byte{awsFile: []byte("aws_access_key_id: AKIAEXAMPLE\naws_secret_access_key: of-aws\naws_session_token: session\n")},
			"kms.eu-west-1.amazonaws.com /", awsKey + ": the service answers AccessDeniedException",
		},
		"Google Cloud KMS": {
			gcpkms.NewMasterKeyFromResourceID(gcpKey), map[string][]byte{gcpFile: account},
			"cloudkms.googleapis.com Decrypt", gcpKey + ": the service answers PermissionDenied",
		},
		"Azure Key Vault": {
			azkv.NewMasterKey("https://shop.vault.azure.net", "sops", "v1"),
			map[string][]byte{azureFile: []byte("tenantId: " + tenant + "\nclientId: app\nclientSecret: of-azure\n")},
			"shop.vault.azure.net /keys/sops/v1/decrypt", "https://shop.vault.azure.net/keys/sops: the service",
		},
		"HashiCorp Vault": {
			hcvault.NewMasterKey(vaultURL, "transit", "sops"),
			map[string][]byte{vaultTokenFile: []byte("of-vault\n"), vaultAddressFile: []byte(vaultURL + "\n")},
			"vault.example.com /v1/transit/decrypt/sops", vaultURL + "/v1/transit/keys/sops: the service answers 403",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newClouds(t)
			file := encrypt(t, "password: "+canary+"\n", render.FormatYAML, "", c.key)
			got := w.ask(c.secret, file)
			if string(got.Plain) != "password: "+canary+"\n" || got.Error != "" {
				t.Errorf("got %q, error %q, asked %v", got.Plain, got.Error, w.asked)
			}
			if !slices.Contains(w.asked, c.asks) {
				t.Errorf("asked %v, want %s", w.asked, c.asks)
			}

			w.refuse = true
			got = w.ask(c.secret, file)
			if len(got.Plain) > 0 || !got.Passing || !strings.Contains(got.Error, c.refuse) || strings.Contains(got.Error, canary) {
				t.Errorf("of a service that refuses: %q, passing %t; want %q", got.Error, got.Passing, c.refuse)
			}

			w.asked, w.refuse = nil, false
			_, other := newAge(t)
			got = w.ask(other, file)
			if len(got.Plain) > 0 || got.Passing || !strings.Contains(got.Error, "the Secret sops-keys has no key") || len(w.asked) > 0 {
				t.Errorf("without credentials: %q, passing %t, asked %v", got.Error, got.Passing, w.asked)
			}
		})
	}
}

// TestVaultTokenGoesNowhereElse: the address stands in the file, which is a stranger's.
func TestVaultTokenGoesNowhereElse(t *testing.T) {
	w := newClouds(t)
	file := encrypt(t, "a: b\n", render.FormatYAML, "", hcvault.NewMasterKey("https://shop.vault.azure.net", "transit", "sops"))
	got := w.ask(map[string][]byte{vaultTokenFile: []byte("of-vault"), vaultAddressFile: []byte(vaultURL)}, file)
	if len(got.Plain) > 0 || len(w.asked) > 0 || !strings.Contains(got.Error, vaultAddressFile) {
		t.Errorf("got %q, asked %v", got.Error, w.asked)
	}
}
