package secret

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// vault speaks what Vault's transit engine does: POST or PUT v1/<engine>/encrypt/<key> and decrypt, with the token in a header. Neither Vault nor any
// other KMS runs where these tests do; awskms, gcpkms and azurekeyvault have not been run against their services at all.
type vault struct {
	*httptest.Server
	key      []byte
	encrypts atomic.Int64
	decrypts atomic.Int64
	odd      atomic.Pointer[http.HandlerFunc] // answers in its place
}

const vaultToken = "canary-vault-token"

func newVault(t *testing.T) *vault {
	v := &vault{key: make([]byte, 32)}
	if _, err := rand.Read(v.key); err != nil {
		t.Fatal(err)
	}
	v.Server = httptest.NewServer(http.HandlerFunc(v.serve))
	t.Cleanup(v.Close)
	t.Setenv("VAULT_SERVER_URL", "")
	t.Setenv("VAULT_SERVER_TOKEN", "")
	t.Setenv("VAULT_ADDR", v.URL)
	t.Setenv("VAULT_TOKEN", vaultToken)
	return v
}

func (v *vault) serve(w http.ResponseWriter, r *http.Request) {
	if odd := v.odd.Load(); odd != nil {
		(*odd)(w, r)
		return
	}
	refuse := func(code int, why string) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{why}})
	}
	if r.Header.Get("X-Vault-Token") != vaultToken {
		refuse(http.StatusForbidden, "permission denied")
		return
	}
	block, _ := aes.NewCipher(v.key)
	gcm, _ := cipher.NewGCM(block)
	var in struct{ Plaintext, Ciphertext string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Method != http.MethodPut && r.Method != http.MethodPost {
		refuse(http.StatusBadRequest, "bad request")
		return
	}
	answer := map[string]any{}
	switch r.URL.Path {
	case "/v1/transit/encrypt/halo":
		v.encrypts.Add(1)
		plain, err := base64.StdEncoding.DecodeString(in.Plaintext)
		if err != nil {
			refuse(http.StatusBadRequest, "plaintext is not base64")
			return
		}
		nonce := make([]byte, gcm.NonceSize())
		_, _ = rand.Read(nonce)
		answer["ciphertext"] = "vault:v1:" + base64.StdEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, nil))
	case "/v1/transit/decrypt/halo":
		v.decrypts.Add(1)
		text, ok := strings.CutPrefix(in.Ciphertext, "vault:v1:")
		raw, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(raw) < gcm.NonceSize() {
			refuse(http.StatusBadRequest, "invalid ciphertext: no prefix")
			return
		}
		plain, err := gcm.Open(nil, raw[:gcm.NonceSize()], raw[gcm.NonceSize():], nil)
		if err != nil {
			refuse(http.StatusBadRequest, "cipher: message authentication failed")
			return
		}
		answer["plaintext"] = base64.StdEncoding.EncodeToString(plain)
	default:
		refuse(http.StatusForbidden, "permission denied")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "x", "lease_id": "", "renewable": false, "data": answer})
}

func TestAKeyInVaultSealsTheKeySetAndIsAskedOnceForIt(t *testing.T) {
	v := newVault(t)
	store, master := &memory{}, NewMaster(MasterKey{URI: NewText("hashivault://halo")})
	s, err := Open(t.Context(), store, master)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Seal(NewText("canary-token"), tokenPlace)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // as a process does for every secret
		s, err := Open(t.Context(), store, master)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(c, tokenPlace); err != nil || got.Reveal() != "canary-token" {
			t.Errorf("opened %q, %v", got.Reveal(), err)
		}
	}
	if e, d := v.encrypts.Load(), v.decrypts.Load(); e != 1 || d != 1 {
		t.Errorf("Vault was asked to encrypt %d times and to decrypt %d times", e, d)
	}
	another, err := Open(t.Context(), store, NewMaster(MasterKey{Value: NewText("hashivault://halo")}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := another.Open(c, tokenPlace); err != nil || got.Reveal() != "canary-token" {
		t.Errorf("another process opened %q, %v", got.Reveal(), err)
	}
	for name, master := range map[string]MasterKey{
		"a local key":         {Value: NewText(strings.Repeat("07", 32))},
		"another key in it":   {URI: NewText("hashivault://other")},
		"another engine":      {URI: NewText("hashivault://halo?engine=elsewhere")},
		"one that is no more": {File: filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := Open(t.Context(), store, NewMaster(master)); !errors.Is(err, ErrMasterKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The other way round: what a local key has sealed is no business of Vault's.
	locals, asked := &memory{}, v.decrypts.Load()
	if _, err := Open(t.Context(), locals, NewMaster(MasterKey{DataDir: t.TempDir()})); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), locals, NewMaster(MasterKey{URI: NewText("hashivault://halo")})); !errors.Is(err, ErrMasterKey) || v.decrypts.Load() != asked {
		t.Errorf("%v, asked %d times more", err, v.decrypts.Load()-asked)
	}
}

func TestWhatVaultRefusesIsAnErrorThatSaysSoAndShowsNoToken(t *testing.T) {
	v := newVault(t)
	store := &memory{}
	master := func() *Master { return NewMaster(MasterKey{URI: NewText("hashivault://halo")}) }
	if _, err := Open(t.Context(), store, master()); err != nil {
		t.Fatal(err)
	}
	answers := func(code int, body string) {
		f := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		})
		v.odd.Store(&f)
	}
	var list []error
	for _, x := range []struct {
		code int
		body string
	}{
		{403, `{"errors":["permission denied"]}`}, {404, ``}, {204, ``}, {200, `{}`}, {200, `{"data":{"plaintext":7}}`}, {200, `{"data":{"plaintext":"!"}}`},
		{200, `{"data":{"plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}}`}, {200, `not json`}, {400, `<html>`},
	} {
		answers(x.code, x.body)
		_, err := Open(t.Context(), store, master())
		if !errors.Is(err, ErrMasterKey) || !strings.Contains(fmt.Sprint(err), "hashivault://halo") {
			t.Errorf("%d %q: %v", x.code, x.body, err)
		}
		list = append(list, err)
		if _, err := Open(t.Context(), &memory{}, master()); x.code != 200 && err == nil {
			t.Errorf("%d: a key set was made", x.code)
		}
	}
	v.odd.Store(nil)
	t.Setenv("VAULT_TOKEN", "canary-other-token")
	_, err := Open(t.Context(), store, master())
	list = append(list, err)
	if !strings.Contains(fmt.Sprint(err), "permission denied") {
		t.Errorf("with another token: %v", err)
	}
	t.Setenv("VAULT_ADDR", "")
	_, err = Open(t.Context(), store, master())
	if !errors.Is(err, ErrMasterKey) || !strings.Contains(fmt.Sprint(err), "VAULT_ADDR is not set") {
		t.Errorf("without an address: %v", err)
	}
	for _, err := range list {
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("it shows the token: %v", err)
		}
	}
}

func TestKeysOfFilesThatAKMSSealsOpenInAnotherProcessAndInTheirPlaceOnly(t *testing.T) {
	v := newVault(t)
	from := MasterKey{URI: NewText("hashivault://halo")}
	writer, err := OpenFileKeys(from)
	if err != nil {
		t.Fatal(err)
	}
	sealed := map[string][]byte{}
	for i := range 40 {
		path := fmt.Sprintf("rows/%d.parquet.enc", i)
		if sealed[path], err = writer.Seal(path, bytes.Repeat([]byte{byte(i)}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	reader, err := OpenFileKeys(from)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		path := fmt.Sprintf("rows/%d.parquet.enc", i)
		if key, err := reader.Open(path, sealed[path]); err != nil || key[0] != byte(i) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if e, d := v.encrypts.Load(), v.decrypts.Load(); e != 1 || d != 1 {
		t.Errorf("Vault was asked to encrypt %d times and to decrypt %d times", e, d)
	}
	c := sealed["rows/1.parquet.enc"]
	if _, err := reader.Open("rows/2.parquet.enc", c); !errors.Is(err, ErrMasterKey) {
		t.Errorf("opened in another place: %v", err)
	}
	for i := range c {
		bad := bytes.Clone(c)
		bad[i] ^= 1
		if _, err := reader.Open("rows/1.parquet.enc", bad); !errors.Is(err, ErrMasterKey) {
			t.Fatalf("opened with byte %d changed: %v", i, err)
		}
		if _, err := reader.Open("rows/1.parquet.enc", c[:i]); !errors.Is(err, ErrMasterKey) {
			t.Fatalf("opened when cut to %d bytes: %v", i, err)
		}
	}
}

func TestAnOldMasterKeyOpensAndSealsNothing(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	one, two := write(strings.Repeat("01", 32)), write(strings.Repeat("02", 32))
	uri := write("base64key://" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{3}, 32)) + "\n")
	for _, x := range []struct{ name, old, now string }{{"to a key", one, two}, {"to a URI", one, uri}, {"from a URI", uri, two}} {
		store := &memory{}
		s, err := Open(t.Context(), store, NewMaster(MasterKey{File: x.old}))
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Seal(NewText("canary"), tokenPlace)
		if err != nil {
			t.Fatal(err)
		}
		both := MasterKey{File: x.now, OldFile: x.old}
		opens := func(when string, master MasterKey, want bool) {
			t.Helper()
			s, err := Open(t.Context(), store, NewMaster(master))
			if err == nil {
				_, err = s.Open(c, tokenPlace)
			}
			if want != (err == nil) || err != nil && !errors.Is(err, ErrMasterKey) {
				t.Errorf("%s, %s: %v", x.name, when, err)
			}
		}
		opens("before, old alone", MasterKey{File: x.old}, true)
		opens("before, new alone", MasterKey{File: x.now}, false)
		opens("before, both", both, true)
		opens("before, both, the old from the environment", MasterKey{File: x.now, OldValue: NewText(readText(t, x.old))}, true)
		opens("neither", MasterKey{File: write(strings.Repeat("09", 32)), OldFile: write(strings.Repeat("08", 32))}, false)
		files, err := OpenFileKeys(MasterKey{File: x.old})
		if err != nil {
			t.Fatal(err)
		}
		file, err := files.Seal("a", []byte("key"))
		if err != nil {
			t.Fatal(err)
		}

		// A rotation does not move it.
		k, err := NewMaster(both).Keyset(t.Context(), store.sealed)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = k.Add(); err != nil {
			t.Fatal(err)
		}
		if store.sealed, err = k.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		opens("after a rotation, old alone", MasterKey{File: x.old}, true)

		k, again, err := NewMaster(both).Reseal(t.Context(), store.sealed)
		if err != nil || again == nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		if _, old := k.Origin(); !old {
			t.Errorf("%s: it does not say that the old one has opened it", x.name)
		}
		store.sealed = again
		opens("after, old alone", MasterKey{File: x.old}, false)
		opens("after, new alone", MasterKey{File: x.now}, true)
		opens("after, both", both, true)
		if _, again, err = NewMaster(both).Reseal(t.Context(), store.sealed); err != nil || again != nil {
			t.Errorf("%s: sealed twice: %v", x.name, err)
		}

		if files, err = OpenFileKeys(both); err != nil {
			t.Fatal(err)
		}
		if key, err := files.Open("a", file); err != nil || string(key) != "key" {
			t.Errorf("%s: a file of before: %q, %v", x.name, key, err)
		}
		later, err := files.Seal("b", []byte("key"))
		if err != nil {
			t.Fatal(err)
		}
		if files, err = OpenFileKeys(MasterKey{File: x.now}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Open("b", later); err != nil {
			t.Errorf("%s: a file of after: %v", x.name, err)
		}
		if _, err := files.Open("a", file); !errors.Is(err, ErrMasterKey) {
			t.Errorf("%s: a file of before opens with the new one: %v", x.name, err)
		}
	}
}

func readText(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheURIOfAKeyIsCheckedAndNotShown(t *testing.T) {
	for text, want := range map[string]string{ // what people are shown; "": refused
		"awskms:///arn:aws:kms:eu-west-1:111122223333:key/abc?region=eu-west-1":            "awskms:///arn:aws:kms:eu-west-1:111122223333:key/abc",
		"awskms://alias/halo?region=eu-west-1":                                             "awskms://alias/halo",
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k":                          "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k",
		"azurekeyvault://halo.vault.azure.net/keys/k":                                      "azurekeyvault://halo.vault.azure.net/keys/k",
		" hashivault://halo\n":                                                             "hashivault://halo",
		"base64key://" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32)): "a base64key:// URI",
		"base64key://":       "",
		"base64key://canary": "",
		"base64key://" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 16)): "",
		"hashivault://":                   "",
		"hashivault://canary:canary@halo": "",
		"hashivault://%zzcanary":          "",
		"kms://canary":                    "",
		"canary":                          "",
		"":                                "",
		"https://canary.example.com":      "",
		"awskms:canary":                   "",
		"base64key://" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)) + "?canary=canary": "",
	} {
		got, err := parseURI(text)
		if got.origin != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got.origin, err)
		}
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%q is shown: %v", text, err)
		}
	}
	for text, want := range map[string]bool{"base64key://x": true, " base64key://": true, "base64key:x": true, "hashivault://x": false, "": false} {
		if HoldsKey(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
	err := MasterKey{File: "f", URI: NewText("hashivault://halo")}.Validate()
	if !errors.Is(err, ErrMasterKey) {
		t.Errorf("a file and a URI: %v", err)
	}
	// 32 letters that are a URI are no raw key.
	if got, err := parseKey([]byte("hashivault://a-key-in-the-engine"), "x"); err != nil || got.uri == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A KMS that does not answer does not hold anybody longer than they want to wait.
func TestWhoDoesNotWaitForAKMSGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := ask(ctx, func(ctx context.Context, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
