// Package secret seals what must not be readable in the database: access tokens and webhook secrets.
//
// A 32-byte master key, from a file or the environment, seals a Tink key set that lives in the
// database; the key set seals the secrets. So the master key can be replaced by sealing one small
// row again, and keys can be rotated without touching the master key. Every ciphertext is bound to
// its place by associated data: copied into another row or column, it does not open.
package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Text is a secret that does not print: every formatting verb and encoder shows a placeholder.
type Text struct{ value string }

// NewText takes a secret as people paste it: outer blanks and line ends do not count.
func NewText(s string) Text { return Text{strings.TrimSpace(s)} }

// Reveal returns the secret itself, for the one place that must send it.
func (t Text) Reveal() string { return t.value }

// IsEmpty reports whether there is no secret.
func (t Text) IsEmpty() bool { return t.value == "" }

// Hint is the secret's last four characters, or nothing where that would be too much of it.
func (t Text) Hint() string {
	if len(t.value) < 12 {
		return ""
	}
	return t.value[len(t.value)-4:]
}

func (t Text) String() string               { return "[secret]" }
func (t Text) GoString() string             { return "[secret]" }
func (t Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte("[secret]")) }
func (t Text) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// MasterKeySize is the length of a master key in bytes.
const MasterKeySize = 32

// keyFile is the name of the master key that the program makes and keeps itself.
const keyFile = "master.key"

// ErrMasterKey is wrapped by every error that is about the master key rather than the database.
var ErrMasterKey = errors.New("master key")

// MasterKey is where the master key comes from: File wins over Value, Value over the kept one in
// DataDir.
type MasterKey struct {
	File    string // a file with 32 raw bytes, base64 or hexadecimal
	Value   Text   // base64 or hexadecimal, from the environment
	DataDir string // where a key that was made once is kept
}

// load returns the key. With create, a missing kept key is made; without, it is an error, because
// there are secrets that were sealed with it.
func (m MasterKey) load(create bool) ([]byte, string, error) {
	switch {
	case m.File != "":
		key, err := readKey(m.File)
		return key, m.File, err
	case !m.Value.IsEmpty():
		key, err := parseKey([]byte(m.Value.Reveal()))
		if err != nil {
			return nil, "", fmt.Errorf("%w in HALOINGEST_MASTER_KEY: %w", ErrMasterKey, err)
		}
		return key, "HALOINGEST_MASTER_KEY", nil
	}
	path := filepath.Join(m.DataDir, keyFile)
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, "", fmt.Errorf("%w: %s is missing, but there are secrets that were sealed with it; restore the file, or name it with --master-key-file (if it is lost for good: disconnect every organisation and connect again)", ErrMasterKey, path)
		}
		key, err = makeKey(path)
	}
	if err != nil {
		return nil, "", err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, "", fmt.Errorf("%w: %s can be read by others (mode %04o); run: chmod 600 %s", ErrMasterKey, path, info.Mode().Perm(), path)
	}
	return key, path, nil
}

func readKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	key, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%w in %s: %w", ErrMasterKey, path, err)
	}
	return key, nil
}

func parseKey(b []byte) ([]byte, error) {
	if len(b) == MasterKeySize {
		return b, nil
	}
	text := string(bytes.TrimSpace(b))
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == MasterKeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("want %d bytes, raw or as base64 or hexadecimal digits", MasterKeySize)
}

// makeKey writes a new key so that two processes starting together end up with the same one and a
// crash leaves either a whole key or none.
func makeKey(path string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("make the %w: %w", ErrMasterKey, err) }
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fail(err)
	}
	key := make([]byte, MasterKeySize)
	if _, err := rand.Read(key); err != nil {
		return fail(err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), keyFile+".*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fail(err)
	}
	// Link, unlike rename, does not replace the key of a process that was faster.
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return readKey(path)
		}
		return fail(err)
	}
	return key, nil
}

// Keysets is where the sealed key set is kept.
type Keysets interface {
	// LoadKeyset returns the sealed key set, or nil if there is none yet.
	LoadKeyset(ctx context.Context) ([]byte, error)
	// CreateKeyset stores the first key set, or returns the one that another process stored before.
	CreateKeyset(ctx context.Context, sealed []byte) ([]byte, error)
}

// Sealer seals and opens secrets. It is safe for concurrent use.
type Sealer struct{ aead tink.AEAD }

var keysetPlace = []byte("haloingest/v1/ingest.keysets/sealed")

// Open reads the key set with the master key, making both where there are none yet.
func Open(ctx context.Context, store Keysets, master MasterKey) (*Sealer, error) {
	sealed, err := store.LoadKeyset(ctx)
	if err != nil {
		return nil, err
	}
	key, origin, err := master.load(sealed == nil)
	if err != nil {
		return nil, err
	}
	wrap, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	if sealed == nil {
		if sealed, err = newKeyset(wrap); err != nil {
			return nil, err
		}
		if sealed, err = store.CreateKeyset(ctx, sealed); err != nil {
			return nil, err
		}
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(sealed)), wrap, keysetPlace)
	if err != nil {
		return nil, fmt.Errorf("%w: the key from %s is not the one that sealed the secrets of this database; name the right one with --master-key-file (if it is lost for good: disconnect every organisation and connect again)", ErrMasterKey, origin)
	}
	a, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("open the key set: %w", err)
	}
	return &Sealer{a}, nil
}

func newKeyset(wrap tink.AEAD) ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a key set: %w", err)
	}
	var buf bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), wrap, keysetPlace); err != nil {
		return nil, fmt.Errorf("seal the key set: %w", err)
	}
	return buf.Bytes(), nil
}

// Place is where a ciphertext belongs; it opens nowhere else.
type Place struct{ Table, Column, Org string }

func (p Place) associatedData() []byte {
	return fmt.Appendf(nil, "haloingest/v1/%s/%s/%s", p.Table, p.Column, p.Org)
}

// Seal encrypts a secret for its place.
func (s *Sealer) Seal(t Text, p Place) ([]byte, error) {
	c, err := s.aead.Encrypt([]byte(t.value), p.associatedData())
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s of %s: %w", p.Table, p.Column, p.Org, err)
	}
	return c, nil
}

// Open decrypts what Seal made for the same place.
func (s *Sealer) Open(ciphertext []byte, p Place) (Text, error) {
	b, err := s.aead.Decrypt(ciphertext, p.associatedData())
	if err != nil {
		return Text{}, fmt.Errorf("%w: %s.%s of %s does not open with the keys of this database", ErrMasterKey, p.Table, p.Column, p.Org)
	}
	return Text{string(b)}, nil
}

// FileKeys seals the keys of files that are kept outside of the database, with the master key itself: they open wherever it is,
// whatever becomes of the database and its key set. It is safe for concurrent use.
type FileKeys struct {
	aead   tink.AEAD
	origin string
}

// OpenFileKeys reads the master key, which has to be there.
func OpenFileKeys(master MasterKey) (*FileKeys, error) {
	key, origin, err := master.load(false)
	if err != nil {
		return nil, err
	}
	a, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	return &FileKeys{a, origin}, nil
}

func fileData(path string) []byte { return []byte("haloingest/v1/snapshot/key/" + path) }

// Seal encrypts the key of the file at path, which names the organisation and run, so that it opens as that file's only.
func (k *FileKeys) Seal(path string, key []byte) ([]byte, error) {
	c, err := k.aead.Encrypt(key, fileData(path))
	if err != nil {
		return nil, fmt.Errorf("seal the key of %s: %w", path, err)
	}
	return c, nil
}

// Open decrypts what Seal made for the same path.
func (k *FileKeys) Open(path string, sealed []byte) ([]byte, error) {
	key, err := k.aead.Decrypt(sealed, fileData(path))
	if err != nil {
		return nil, fmt.Errorf("%w: the key from %s is not the one that sealed the key of %s; name the right one with --master-key-file", ErrMasterKey, k.origin, path)
	}
	return key, nil
}
