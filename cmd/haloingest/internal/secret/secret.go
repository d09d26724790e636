// Package secret seals what must not be readable in the database: access tokens and webhook secrets.
//
// A master key, 32 bytes from a file or the environment or a key in a key management service (KMS), seals a
// Tink key set that lives in the database; the key set seals the secrets. So the master key can be replaced
// by sealing one small row again, and keys can be rotated without touching the master key. Every ciphertext
// is bound to its place by associated data: copied into another row or column, it does not open.
package secret

import (
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrMasterKey is wrapped by every error that is about the master key rather than the database.
var ErrMasterKey = errors.New("master key")

// Keysets is where the sealed key set is kept.
type Keysets interface {
	// LoadKeyset returns the sealed key set, or nil if there is none yet.
	LoadKeyset(ctx context.Context) ([]byte, error)
	// CreateKeyset stores the first key set, or returns the one that another process stored before.
	CreateKeyset(ctx context.Context, sealed []byte) ([]byte, error)
}

// Sealer seals and opens secrets with the keys that were there when it was opened: it is for what is done at once, in the transaction or from the
// snapshot of the database that its key set was read in, and is not to be kept. It is safe for concurrent use.
type Sealer struct{ aead tink.AEAD }

// Open reads the key set with the master key, making both where there are none yet. A key set that is sealed by a key in a KMS is
// opened there once, and again when it has changed.
func Open(ctx context.Context, store Keysets, master *Master) (*Sealer, error) {
	sealed, err := store.LoadKeyset(ctx)
	if err != nil {
		return nil, err
	}
	if sealed == nil {
		if sealed, err = master.create(ctx); err != nil {
			return nil, err
		}
		if sealed, err = store.CreateKeyset(ctx, sealed); err != nil {
			return nil, err
		}
	}
	k, err := master.Keyset(ctx, sealed)
	if err != nil {
		return nil, err
	}
	return k.Sealer()
}

// Place is where a ciphertext belongs; it opens nowhere else.
type Place struct{ Table, Column, Org string }

func (p Place) associatedData() []byte {
	return fmt.Appendf(nil, "haloingest/v1/%s/%s/%s", p.Table, p.Column, p.Org)
}

// Seal encrypts a secret for its place.
func (s *Sealer) Seal(t Text, p Place) ([]byte, error) {
	c, err := s.aead.Encrypt([]byte(t.Reveal()), p.associatedData())
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
	return textOf(string(b)), nil
}
