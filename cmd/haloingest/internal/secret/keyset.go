package secret

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Master opens and seals key sets with a master key. A key that lies on this machine is read each time, so that a lost one is noticed and another
// one is taken up; a KMS is asked once for each key set. It is safe for concurrent use.
type Master struct {
	from MasterKey

	mu     sync.Mutex
	kms    map[string]*envelope // by URI
	sealed []byte               // what the KMS has opened last
	opened *Keyset
}

// NewMaster returns a Master. The master key is not looked for until it is needed.
func NewMaster(from MasterKey) *Master { return &Master{from: from, kms: map[string]*envelope{}} }

var keysetPlace = []byte("haloingest/v1/ingest.keysets/sealed")

// local is a master key that lies on this machine.
type local struct{ tink.AEAD }

func (l local) EncryptWithContext(_ context.Context, plain, data []byte) ([]byte, error) {
	return l.Encrypt(plain, data)
}

func (l local) DecryptWithContext(_ context.Context, c, data []byte) ([]byte, error) {
	return l.Decrypt(c, data)
}

// cipher makes of a master key what seals and opens with it.
func (m *Master) cipher(ctx context.Context, from material) (tink.AEADWithContext, error) {
	if from.uri == "" {
		a, err := subtle.NewAESGCM(from.key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
		}
		return local{a}, nil
	}
	m.mu.Lock()
	known := m.kms[from.uri]
	m.mu.Unlock()
	if known != nil {
		return known, nil
	}
	// The client outlives the call: it is not to end with it.
	keeper, err := openKeeper(context.WithoutCancel(ctx), from.uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMasterKey, from.origin, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kms[from.uri] == nil {
		m.kms[from.uri] = &envelope{keeper: keeper}
	}
	return m.kms[from.uri], nil
}

// create makes a key set, and the kept master key if there is none.
func (m *Master) create(ctx context.Context) ([]byte, error) {
	from, err := m.from.load(true)
	if err != nil {
		return nil, err
	}
	wrap, err := m.cipher(ctx, from)
	if err != nil {
		return nil, err
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a key set: %w", err)
	}
	return (&Keyset{handle: handle, wrap: wrap, origin: from.origin}).Seal(ctx)
}

// Keyset opens a sealed key set, with the old master key if the present one does not and there is one.
func (m *Master) Keyset(ctx context.Context, sealed []byte) (*Keyset, error) {
	m.mu.Lock()
	if m.opened != nil && bytes.Equal(m.sealed, sealed) {
		defer m.mu.Unlock()
		return m.opened, nil
	}
	m.mu.Unlock()
	from, err := m.from.load(false)
	if err != nil {
		return nil, err
	}
	k, err := m.open(ctx, from, sealed)
	if err != nil && m.from.hasOld() {
		old, oldErr := m.from.loadOld()
		if oldErr != nil {
			return nil, oldErr
		}
		if k, oldErr = m.open(ctx, old, sealed); oldErr == nil {
			k.old, err = true, nil
		} else {
			err = fmt.Errorf("%w; nor does the old one, from %s", err, old.origin)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, remote := k.wrap.(*envelope); remote {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.sealed, m.opened = bytes.Clone(sealed), k
	}
	return k, nil
}

// Check is nil if the master key opens a sealed key set. Without one (nil), it is nil if a master key can be read where one is named; that there is none in
// the data directory is no error then, since it is made with the first secret. A key in a KMS that has nothing to open yet is not asked for.
func (m *Master) Check(ctx context.Context, sealed []byte) error {
	if sealed != nil {
		_, err := m.Keyset(ctx, sealed)
		return err
	}
	_, err := m.from.load(false)
	if m.from.kept() && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m *Master) open(ctx context.Context, from material, sealed []byte) (*Keyset, error) {
	wrap, err := m.cipher(ctx, from)
	if err != nil {
		return nil, err
	}
	noted := &noting{AEADWithContext: wrap}
	handle, err := keyset.ReadWithContext(ctx, keyset.NewBinaryReader(bytes.NewReader(sealed)), noted, keysetPlace)
	if err == nil {
		return &Keyset{handle: handle, wrap: wrap, origin: from.origin}, nil
	}
	const remedy = "name the right one with --master-key-file or --master-key-uri (if it is lost for good: disconnect every organisation and connect again)"
	if from.uri != "" && !errors.Is(noted.err, errNotEnvelope) {
		return nil, fmt.Errorf("%w: %s does not open the keys of this database: %w; %s", ErrMasterKey, from.origin, noted.err, remedy)
	}
	return nil, fmt.Errorf("%w: the key from %s is not the one that sealed the secrets of this database; %s", ErrMasterKey, from.origin, remedy)
}

// noting keeps the error of which Tink passes on the text alone.
type noting struct {
	tink.AEADWithContext
	err error
}

func (n *noting) DecryptWithContext(ctx context.Context, c, data []byte) ([]byte, error) {
	plain, err := n.AEADWithContext.DecryptWithContext(ctx, c, data)
	n.err = err
	return plain, err
}

// Keyset is an open key set. It does not change: what changes it returns another one, which is to be sealed and stored. It is safe for concurrent use.
type Keyset struct {
	handle *keyset.Handle
	wrap   tink.AEADWithContext // of the master key that has opened it
	origin string
	old    bool
}

// Key is what may be shown of a key.
type Key struct {
	ID      uint32
	Primary bool // it seals; of each key set there is one
	Enabled bool // it opens
}

// Keys are the keys of the set in the order in which they were added.
func (k *Keyset) Keys() []Key {
	var list []Key
	for i := range k.handle.Len() {
		e, err := k.handle.Entry(i)
		if err != nil {
			continue // i is in range
		}
		list = append(list, Key{e.KeyID(), e.IsPrimary(), e.KeyStatus() == keyset.Enabled})
	}
	return list
}

// Primary is the id of the key that seals.
func (k *Keyset) Primary() uint32 {
	for _, key := range k.Keys() {
		if key.Primary {
			return key.ID
		}
	}
	return 0 // Tink makes and opens no key set without one
}

// Origin says which master key has sealed the set, and whether that is the old one.
func (k *Keyset) Origin() (origin string, old bool) { return k.origin, k.old }

// Sealer seals and opens with the keys of the set.
func (k *Keyset) Sealer() (*Sealer, error) {
	a, err := aead.New(k.handle)
	if err != nil {
		return nil, fmt.Errorf("open the key set: %w", err)
	}
	return &Sealer{a}, nil
}

// Seal returns the set as it is stored, sealed with the master key that has opened it.
func (k *Keyset) Seal(ctx context.Context) ([]byte, error) {
	var buf bytes.Buffer
	if err := k.handle.WriteWithContext(ctx, keyset.NewBinaryWriter(&buf), k.wrap, keysetPlace); err != nil {
		return nil, fmt.Errorf("seal the key set with the %w from %s: %w", ErrMasterKey, k.origin, err)
	}
	return buf.Bytes(), nil
}

// Reseal opens a sealed key set and, where the old master key has sealed it, returns it sealed with the present one. Where that is the kept one and there is
// none, it is made. again is nil if the present one has sealed the set already.
func (m *Master) Reseal(ctx context.Context, sealed []byte) (k *Keyset, again []byte, err error) {
	if m.from.hasOld() {
		old, err := m.from.loadOld()
		if err != nil {
			return nil, nil, err
		}
		if _, err := m.open(ctx, old, sealed); err == nil {
			if _, err := m.from.load(true); err != nil {
				return nil, nil, err
			}
		}
	}
	if k, err = m.Keyset(ctx, sealed); err != nil || !k.old {
		return k, nil, err
	}
	from, err := m.from.load(false)
	if err != nil {
		return nil, nil, err
	}
	wrap, err := m.cipher(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	again, err = (&Keyset{handle: k.handle, wrap: wrap, origin: from.origin}).Seal(ctx)
	return k, again, err
}

// Origin says where the present master key is, or "" if that cannot be told.
func (m *Master) Origin() string {
	from, err := m.from.load(false)
	if err != nil {
		return ""
	}
	return from.origin
}

// Add adds a key that opens and does not seal yet.
func (k *Keyset) Add() (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error {
		_, err := m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
}

// Promote makes a key the one that seals. The one that did goes on opening.
func (k *Keyset) Promote(id uint32) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.SetPrimary(id) })
}

// Disable lets a key open nothing any more, as if it were gone.
func (k *Keyset) Disable(id uint32) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Disable(id) })
}

// Enable lets a key that was disabled open again.
func (k *Keyset) Enable(id uint32) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Enable(id) })
}

// Delete deletes a key for good.
func (k *Keyset) Delete(id uint32) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Delete(id) })
}

func (k *Keyset) change(f func(*keyset.Manager) error) (*Keyset, error) {
	m := keyset.NewManagerFromHandle(k.handle)
	err := f(m)
	var handle *keyset.Handle
	if err == nil {
		handle, err = m.Handle()
	}
	if err != nil {
		return nil, fmt.Errorf("change the key set: %w", err)
	}
	return &Keyset{handle, k.wrap, k.origin, k.old}, nil
}

// Prefix is how every ciphertext of a key begins: Tink's version byte and the key's id.
func Prefix(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{1}, id)
}
