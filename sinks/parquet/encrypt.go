package parquet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

// Files are encrypted whole, by Tink's streaming AEAD (AES-256-GCM with HKDF, segments of 1 MiB): each under a key of its own, bound to its
// path. Parquet's modular encryption would let other tools in that are given the key, but parquet-go v0.32 numbers the modules in another way
// than the specification does (its page headers are 3, its column indexes 8), so that no other library authenticates what it writes: arrow
// v17, by which a snapshot is verified, refuses every column of it.

// KeySize is the length of a file's key in bytes.
const KeySize = 32

// segmentSize is how much is encrypted, and has to be held, at once.
const segmentSize = 1 << 20

// SealFunc seals the key of the file that is to lie at path, so that it opens as that file's key only.
type SealFunc func(path string, key []byte) (sealed []byte, err error)

// ErrDecrypt says that a file does not open with its key: either is another one, or has been changed.
var ErrDecrypt = errors.New("it does not open with its key")

func cipherOf(key []byte) (*subtle.AESGCMHKDF, error) {
	c, err := subtle.NewAESGCMHKDF(key, "SHA256", KeySize, segmentSize, 0)
	if err != nil {
		return nil, fmt.Errorf("key of a file: %w", err)
	}
	return c, nil
}

func binding(path string) []byte { return []byte("haloingest/v1/snapshot/" + path) }

// Encrypt returns a writer that encrypts the file that is to lie at path into w. Its Close ends the file and leaves w open.
func Encrypt(w io.Writer, key []byte, path string) (io.WriteCloser, error) {
	c, err := cipherOf(key)
	if err != nil {
		return nil, err
	}
	return c.NewEncryptingWriter(w, binding(path))
}

// Decrypt opens a whole file that Encrypt made. path is where it lies, as the manifest names it. The error wraps ErrDecrypt where a byte has
// changed, is missing, or the key or the path is another one; nothing of the file is returned then.
func Decrypt(data, key []byte, path string) ([]byte, error) {
	c, err := cipherOf(key)
	if err != nil {
		return nil, err
	}
	r, err := c.NewDecryptingReader(bytes.NewReader(data), binding(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrDecrypt)
	}
	plain := bytes.NewBuffer(make([]byte, 0, len(data)))
	if _, err := plain.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrDecrypt)
	}
	return plain.Bytes(), nil
}

// newKey makes the key of one file.
func newKey() ([]byte, error) {
	key := make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}
