package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
	"gocloud.dev/gcp"
	"gocloud.dev/secrets"
	"gocloud.dev/secrets/awskms"
	"gocloud.dev/secrets/azurekeyvault"
	"gocloud.dev/secrets/gcpkms"
	"gocloud.dev/secrets/hashivault"
	"gocloud.dev/secrets/localsecrets"
)

// Schemes of the URIs of keys in a KMS, as gocloud.dev/secrets has them. base64key is for tests: it is no service, the URI is the key.
const (
	schemeAWS    = "awskms"
	schemeGoogle = "gcpkms"
	schemeAzure  = "azurekeyvault"
	schemeVault  = "hashivault"
	schemeLocal  = "base64key"
)

var schemes = [...]string{schemeAWS, schemeGoogle, schemeAzure, schemeVault, schemeLocal}

// HoldsKey reports whether a URI is itself a key, so that it must not be where others can read it.
func HoldsKey(uri string) bool { return strings.HasPrefix(strings.TrimSpace(uri), schemeLocal+":") }

func isURI(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && slices.Contains(schemes[:], scheme)
}

// parseURI checks what can be without asking the service. Its errors do not show the URI.
func parseURI(text string) (material, error) {
	text = strings.TrimSpace(text)
	if !isURI(text) {
		return material{}, fmt.Errorf("want the URI of a key: awskms://, gcpkms://, azurekeyvault:// or hashivault://")
	}
	scheme, rest, _ := strings.Cut(text, "://")
	if scheme == schemeLocal {
		// Without a key in it, gocloud would make one and forget it.
		if _, err := localsecrets.Base64Key(rest); err != nil {
			return material{}, fmt.Errorf("want base64key:// with %d bytes as URL-safe base64", MasterKeySize)
		}
		return material{uri: text, origin: "a base64key:// URI"}, nil
	}
	u, err := url.Parse(text)
	if err != nil || strings.Trim(u.Host+u.Path, "/") == "" || u.User != nil || u.Fragment != "" {
		return material{}, fmt.Errorf("want %s:// with the name of a key", scheme)
	}
	u.RawQuery = ""
	return material{uri: text, origin: u.String()}, nil
}

// askLast is for how long a KMS is waited for.
const askLast = 30 * time.Second

// openKeeper opens the client of a key's service, with the credentials that the service's own tools would find. Nothing is asked of the key yet.
func openKeeper(ctx context.Context, uri string) (*secrets.Keeper, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errors.New("cannot read the URI")
	}
	switch u.Scheme {
	case schemeAWS:
		return new(awskms.URLOpener).OpenKeeperURL(ctx, u)
	case schemeAzure:
		return (&azurekeyvault.URLOpener{ClientMaker: azurekeyvault.DefaultClientMaker}).OpenKeeperURL(ctx, u)
	case schemeGoogle:
		// Not by gocloud's own opener: one that has failed for want of credentials would fail until the process ends.
		credentials, err := gcp.DefaultCredentials(ctx)
		if err != nil {
			return nil, err
		}
		client, _, err := gcpkms.Dial(ctx, credentials.TokenSource)
		if err != nil {
			return nil, err
		}
		return (&gcpkms.URLOpener{Client: client}).OpenKeeperURL(ctx, u)
	case schemeVault:
		var cfg hashivault.Config
		cfg.APIConfig.Timeout = askLast
		cfg.Token = os.Getenv("VAULT_SERVER_TOKEN") // else VAULT_TOKEN, which Vault's client reads itself, like VAULT_NAMESPACE and VAULT_CACERT
		for _, name := range []string{"VAULT_SERVER_URL", "VAULT_ADDR"} {
			if cfg.APIConfig.Address == "" {
				cfg.APIConfig.Address = os.Getenv(name)
			}
		}
		if cfg.APIConfig.Address == "" {
			return nil, errors.New("VAULT_ADDR is not set: want Vault's address, such as https://vault.example.com:8200")
		}
		client, err := hashivault.Dial(ctx, &cfg)
		if err != nil {
			return nil, err
		}
		return (&hashivault.URLOpener{Client: client}).OpenKeeperURL(ctx, u)
	}
	key, err := localsecrets.Base64Key(strings.TrimPrefix(uri, schemeLocal+"://"))
	if err != nil {
		return nil, errors.New("cannot read the key in the URI")
	}
	return localsecrets.NewKeeper(key), nil
}

// envelope seals with keys of its own, which a key in a KMS seals: so associated data, which not every service takes, is bound here, no
// secret leaves the process, and the service is asked once for all that a process seals. It is a tink.AEADWithContext, and safe for concurrent use.
//
// What it makes: envelopeMark, the length of the sealed key (2 bytes, big endian), the sealed key, and what AES-256-GCM made with it.
type envelope struct {
	keeper *secrets.Keeper

	mu     sync.Mutex
	own    tink.AEAD // seals; nil until something is to be
	sealed []byte    // its key
	opened map[string]tink.AEAD
}

// envelopeMark cannot be the beginning of what a local master key makes, a random nonce, but by a chance of one in 2^64.
var envelopeMark = []byte("hi-kms1\x00")

// envelopeKey goes before a key that is sealed, so that what the same key in the KMS has sealed for somebody else is not taken for one.
var envelopeKey = []byte("haloingest/v1/master-key\x00")

// maxOpened bounds what is kept of keys that were opened; one is as good for all that a process has sealed.
const maxOpened = 1024

// errNotEnvelope says that a ciphertext was made by a local master key.
var errNotEnvelope = errors.New("it was not sealed by a key in a KMS")

func (e *envelope) EncryptWithContext(ctx context.Context, plain, data []byte) ([]byte, error) {
	own, sealed, err := e.key(ctx)
	if err != nil {
		return nil, err
	}
	c, err := own.Encrypt(plain, data)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint16(bytes.Clone(envelopeMark), uint16(len(sealed)))
	return append(append(out, sealed...), c...), nil
}

// key returns the key that this process seals with, making it first.
func (e *envelope) key(ctx context.Context) (tink.AEAD, []byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.own != nil {
		return e.own, e.sealed, nil
	}
	key := make([]byte, MasterKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	sealed, err := ask(ctx, e.keeper.Encrypt, append(bytes.Clone(envelopeKey), key...))
	if err != nil {
		return nil, nil, err
	}
	if len(sealed) == 0 || len(sealed) > 1<<16-1 {
		return nil, nil, fmt.Errorf("the service made %d bytes of a key", len(sealed))
	}
	own, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, nil, err
	}
	e.own, e.sealed = own, sealed
	return own, sealed, nil
}

func (e *envelope) DecryptWithContext(ctx context.Context, c, data []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(c, envelopeMark)
	if !ok || len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
		return nil, errNotEnvelope
	}
	n := 2 + int(binary.BigEndian.Uint16(rest))
	key, err := e.open(ctx, rest[2:n])
	if err != nil {
		return nil, err
	}
	return key.Decrypt(rest[n:], data)
}

func (e *envelope) open(ctx context.Context, sealed []byte) (tink.AEAD, error) {
	e.mu.Lock()
	known := e.opened[string(sealed)]
	e.mu.Unlock()
	if known != nil {
		return known, nil
	}
	plain, err := ask(ctx, e.keeper.Decrypt, sealed)
	if err != nil {
		return nil, err
	}
	key, ok := bytes.CutPrefix(plain, envelopeKey)
	if !ok || len(key) != MasterKeySize {
		return nil, errors.New("what the service opened is no key of this program")
	}
	known, err = subtle.NewAESGCM(key)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opened == nil || len(e.opened) >= maxOpened {
		e.opened = map[string]tink.AEAD{}
	}
	e.opened[string(sealed)] = known
	return known, nil
}

// ask asks the service. The client for Vault panics on an answer without the field that it looks for.
func ask(ctx context.Context, f func(context.Context, []byte) ([]byte, error), in []byte) (out []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askLast)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, errors.New("the service's answer is not as documented")
		}
	}()
	return f(ctx, in)
}

var _ tink.AEADWithContext = (*envelope)(nil)
