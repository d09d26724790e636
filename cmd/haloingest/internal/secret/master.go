package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MasterKeySize is the length of a master key in bytes.
const MasterKeySize = 32

// keyFile is the name of the master key that the program makes and keeps itself.
const keyFile = "master.key"

// MasterKey is where the master key comes from: File or URI before Value, Value before the one that is kept in DataDir. OldFile or OldValue is the
// one before it, if there is one still: it opens what was sealed with it, and seals nothing.
type MasterKey struct {
	File     string // a file with 32 raw bytes, base64 or hexadecimal; or with a URI
	URI      Text   // of a key in a KMS; a secret, since a base64key:// holds the key itself
	Value    Text   // base64 or hexadecimal, or a URI, from the environment
	DataDir  string // where a key that was made once is kept
	OldFile  string // like File
	OldValue Text   // like Value
}

// Validate says what cannot be meant, without looking at any file or asking any service.
func (m MasterKey) Validate() error {
	if m.File != "" && !m.URI.IsEmpty() {
		return fmt.Errorf("%w: --master-key-file and --master-key-uri are both given; want one", ErrMasterKey)
	}
	if !m.URI.IsEmpty() {
		_, err := parseURI(m.URI.Reveal())
		if err != nil {
			return fmt.Errorf("%w in --master-key-uri: %w", ErrMasterKey, err)
		}
	}
	return nil
}

// material is a master key, or where one is that nobody gets to see.
type material struct {
	key    []byte // 32 bytes
	uri    string // in place of key
	origin string // as people know it
}

// load returns the master key. With create, a missing kept key is made; without, it is an error, because
// there are secrets that were sealed with it.
func (m MasterKey) load(create bool) (material, error) {
	if err := m.Validate(); err != nil {
		return material{}, err
	}
	switch {
	case m.File != "":
		return readKey(m.File)
	case !m.URI.IsEmpty():
		return parseURI(m.URI.Reveal())
	case !m.Value.IsEmpty():
		return parseValue(m.Value, "HALOINGEST_MASTER_KEY")
	}
	path := filepath.Join(m.DataDir, keyFile)
	found, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return material{}, &missingError{path}
		}
		found, err = makeKey(path)
	}
	if err != nil {
		return material{}, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return material{}, fmt.Errorf("%w: %s can be read by others (mode %04o); run: chmod 600 %s", ErrMasterKey, path, info.Mode().Perm(), path)
	}
	return found, nil
}

// missingError says that there is no kept master key, although there should be one. It is ErrMasterKey and fs.ErrNotExist.
type missingError struct{ path string }

func (e *missingError) Error() string {
	return fmt.Sprintf("%v: %s is missing, but there are secrets that were sealed with it; restore the file, or name it with --master-key-file (if it is lost for good: disconnect every organisation and connect again)", ErrMasterKey, e.path)
}

func (e *missingError) Is(target error) bool {
	return target == ErrMasterKey || target == fs.ErrNotExist
}

// kept reports whether the master key is the one that is kept in DataDir.
func (m MasterKey) kept() bool { return m.File == "" && m.URI.IsEmpty() && m.Value.IsEmpty() }

// hasOld reports whether there is an old master key.
func (m MasterKey) hasOld() bool { return m.OldFile != "" || !m.OldValue.IsEmpty() }

// loadOld returns the old master key.
func (m MasterKey) loadOld() (material, error) {
	if m.OldFile != "" {
		return readKey(m.OldFile)
	}
	return parseValue(m.OldValue, "HALOINGEST_OLD_MASTER_KEY")
}

func readKey(path string) (material, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return material{}, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	found, err := parseKey(b, path)
	if err != nil {
		return material{}, fmt.Errorf("%w in %s: %w", ErrMasterKey, path, err)
	}
	return found, nil
}

func parseValue(value Text, name string) (material, error) {
	found, err := parseKey([]byte(value.Reveal()), name)
	if err != nil {
		return material{}, fmt.Errorf("%w in %s: %w", ErrMasterKey, name, err)
	}
	return found, nil
}

func parseKey(b []byte, origin string) (material, error) {
	text := string(bytes.TrimSpace(b))
	if isURI(text) {
		return parseURI(text)
	}
	if len(b) == MasterKeySize {
		return material{key: b, origin: origin}, nil
	}
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == MasterKeySize {
			return material{key: key, origin: origin}, nil
		}
	}
	return material{}, fmt.Errorf("want %d bytes, raw or as base64 or hexadecimal digits", MasterKeySize)
}

// makeKey writes a new key so that two processes starting together end up with the same one and a
// crash leaves either a whole key or none.
func makeKey(path string) (material, error) {
	fail := func(err error) (material, error) {
		return material{}, fmt.Errorf("make the %w: %w", ErrMasterKey, err)
	}
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
	return material{key: key, origin: path}, nil
}
