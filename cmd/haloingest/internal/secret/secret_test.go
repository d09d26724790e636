package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memory is a Keysets without a database.
type memory struct{ sealed []byte }

func (m *memory) LoadKeyset(context.Context) ([]byte, error) { return m.sealed, nil }

func (m *memory) CreateKeyset(_ context.Context, sealed []byte) ([]byte, error) {
	if m.sealed == nil {
		m.sealed = sealed
	}
	return m.sealed, nil
}

var tokenPlace = Place{"ingest.connections", "token", "org-1"}

func TestSealedSecretOpensInItsPlaceOnly(t *testing.T) {
	store, master := &memory{}, MasterKey{DataDir: t.TempDir()}
	s, err := Open(t.Context(), store, NewMaster(master))
	if err != nil {
		t.Fatal(err)
	}
	token := NewText("  dG9rOmNhbmFyeS10b2tlbg==\n")
	c, err := s.Seal(token, tokenPlace)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(c, []byte("canary")) || bytes.Contains(c, []byte(token.Reveal())) {
		t.Error("the ciphertext shows the secret")
	}
	again, err := Open(t.Context(), store, NewMaster(master)) // another process
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(c, tokenPlace); err != nil || got.Reveal() != "dG9rOmNhbmFyeS10b2tlbg==" {
		t.Errorf("opened %q, %v", got.Reveal(), err)
	}
	for _, p := range []Place{
		{"ingest.connections", "webhook_secret", "org-1"},
		{"ingest.connections", "token", "org-2"},
		{"ingest.other", "token", "org-1"},
	} {
		if _, err := again.Open(c, p); !errors.Is(err, ErrMasterKey) {
			t.Errorf("opened at %v: %v", p, err)
		}
	}
	c[len(c)-1] ^= 1
	if _, err := again.Open(c, tokenPlace); err == nil {
		t.Error("opened a ciphertext that was changed")
	}
}

func TestLostOrWrongMasterKeyIsAnErrorAndNeverANewKey(t *testing.T) {
	store, dir := &memory{}, t.TempDir()
	if _, err := Open(t.Context(), store, NewMaster(MasterKey{DataDir: dir})); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, keyFile)
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("kept key: %v, %v", info, err)
	}
	empty := t.TempDir()
	if _, err := Open(t.Context(), store, NewMaster(MasterKey{DataDir: empty})); !errors.Is(err, ErrMasterKey) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("lost key: %v", err)
	}
	if left, _ := os.ReadDir(empty); len(left) != 0 {
		t.Errorf("a new key was made: %v", left)
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, bytes.Repeat([]byte{7}, MasterKeySize), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), store, NewMaster(MasterKey{File: wrong})); !errors.Is(err, ErrMasterKey) || !strings.Contains(err.Error(), wrong) {
		t.Errorf("wrong key: %v", err)
	}
	if err := os.Chmod(kept, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), store, NewMaster(MasterKey{DataDir: dir})); !errors.Is(err, ErrMasterKey) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("key that others can read: %v", err)
	}
}

func TestMasterKeyFormats(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb, 1}, MasterKeySize/2)
	for name, text := range map[string]string{
		"raw bytes":              string(key),
		"base64":                 base64.StdEncoding.EncodeToString(key) + "\n",
		"base64 without padding": base64.RawURLEncoding.EncodeToString(key),
		"hexadecimal":            hex.EncodeToString(key) + "\r\n",
	} {
		if got, err := parseKey([]byte(text), name); err != nil || !bytes.Equal(got.key, key) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "short", hex.EncodeToString(key[:31]), strings.Repeat("z", 64)} {
		if _, err := parseKey([]byte(bad), "x"); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func TestTextDoesNotPrint(t *testing.T) {
	token := NewText("canary-secret-value")
	asJSON, err := json.Marshal(map[string]any{"token": token, "inner": struct{ T Text }{token}})
	if err != nil {
		t.Fatal(err)
	}
	type holder struct{ t Text } // what fmt finds in an unexported field it prints without asking
	shown := fmt.Sprint(token) + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%U", "%e", "%c", "%!", "%T", "%z", "%5.3s"} {
		for _, x := range []any{
			token, &token, holder{token}, &holder{token}, []Text{token}, map[string]Text{"a": token}, map[Text]string{token: "a"}, []holder{{token}},
			MasterKey{URI: token, Value: token, OldValue: token}, NewMaster(MasterKey{Value: token}),
		} {
			shown += fmt.Sprintf(verb, x)
		}
	}
	var logged bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(h).Info("x", "token", token, "pointer", &token, "holder", holder{token}, "master", MasterKey{Value: token}, "error", fmt.Errorf("bad %v", token))
	}
	shown += logged.String()
	if strings.Contains(shown, "canary") || strings.Contains(strings.ToLower(shown), hex.EncodeToString([]byte("canary"))) {
		t.Errorf("it printed: %s", shown)
	}
	var page bytes.Buffer
	if err := template.Must(template.New("").Parse(`<p title="{{.}}">{{.}}</p><script>var a = {{.}}</script>`)).Execute(&page, token); err != nil || strings.Contains(page.String(), "canary") {
		t.Errorf("a page shows %s, %v", page.String(), err)
	}
	// printf canary-secret-value | sha256sum
	if got := token.Fingerprint(); got != "9b866697aea8" {
		t.Errorf("the fingerprint is %s", got)
	}
	if NewText("short").Fingerprint() != "" || (Text{}).Fingerprint() != "" {
		t.Error("something too short has a fingerprint")
	}
	if NewText("abcdefghijklmnop").Hint() != "mnop" || NewText("short").Hint() != "" {
		t.Error("the hint shows too much or too little")
	}
}

func TestAFileThatIsNamedGoesBeforeTheEnvironmentAndTheKeptKey(t *testing.T) {
	write := func(b byte) string {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, bytes.Repeat([]byte{b}, MasterKeySize), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	value := NewText(hex.EncodeToString(bytes.Repeat([]byte{2}, MasterKeySize)))
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		master MasterKey
		want   byte
	}{
		"all three":       {MasterKey{File: write(1), Value: value, DataDir: dir}, 1},
		"the environment": {MasterKey{Value: value, DataDir: dir}, 2},
	} {
		got, err := tt.master.load(false)
		if err != nil || got.key[0] != tt.want {
			t.Errorf("%s: key %x from %s, %v", name, got.key, got.origin, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a key was kept although one was named: %v", left)
	}
	if _, err := (MasterKey{File: filepath.Join(dir, "none"), Value: value, DataDir: dir}).load(true); !errors.Is(err, ErrMasterKey) {
		t.Errorf("a named file that is not there: %v", err)
	}
}

// Many processes that start together on an empty folder end up with one key.
func TestKeysMadeAtOnceAreOneKey(t *testing.T) {
	dir := t.TempDir()
	keys := make(chan string, 16)
	for range cap(keys) {
		go func() {
			got, err := MasterKey{DataDir: dir}.load(true)
			keys <- fmt.Sprintf("%x %v", got.key, err)
		}()
	}
	seen := map[string]bool{}
	for range cap(keys) {
		seen[<-keys] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d keys: %v", len(seen), seen)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
}

func TestAFileKeyOpensInItsPlaceWithItsMasterKeyOnly(t *testing.T) {
	master := func(b byte) MasterKey {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, bytes.Repeat([]byte{b}, MasterKeySize), 0o600); err != nil {
			t.Fatal(err)
		}
		return MasterKey{File: file}
	}
	right, err := OpenFileKeys(master(1))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := OpenFileKeys(master(2))
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("0123456789abcdef0123456789abcdef")
	sealed, err := right.Seal("rows/a.parquet.enc", key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := right.Open("rows/a.parquet.enc", sealed); err != nil || !bytes.Equal(got, key) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another file":       func() ([]byte, error) { return right.Open("rows/b.parquet.enc", sealed) },
		"another master key": func() ([]byte, error) { return wrong.Open("rows/a.parquet.enc", sealed) },
		"a changed byte": func() ([]byte, error) {
			return right.Open("rows/a.parquet.enc", append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1))
		},
	} {
		if got, err := open(); !errors.Is(err, ErrMasterKey) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if bytes.Contains(sealed, key) {
		t.Error("the key is readable")
	}
	if _, err := OpenFileKeys(MasterKey{DataDir: t.TempDir()}); !errors.Is(err, ErrMasterKey) {
		t.Errorf("without a master key: %v", err)
	}
}
