package secret

import (
	"context"
	"errors"
	"fmt"
)

// FileKeys seals the keys of files that are kept outside of the database, with the master key itself: they open wherever it is,
// whatever becomes of the database and its key set. So a change of the master key does not reach them: files of before it open with the master key
// of then, which is to be kept as long as they are, and given as the old one. It is safe for concurrent use.
type FileKeys struct {
	master  *Master
	present material
	old     material // of no origin: there is none
}

// OpenFileKeys reads the master key, which has to be there, and the old one if it is named.
func OpenFileKeys(from MasterKey) (*FileKeys, error) {
	present, err := from.load(false)
	if err != nil {
		return nil, err
	}
	k := &FileKeys{master: NewMaster(from), present: present}
	if from.hasOld() {
		if k.old, err = from.loadOld(); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func fileData(path string) []byte { return []byte("haloingest/v1/snapshot/key/" + path) }

// Seal encrypts the key of the file at path, which names the organisation and run, so that it opens as that file's only. A KMS is
// asked once for all of them, and waited for half a minute.
func (k *FileKeys) Seal(path string, key []byte) ([]byte, error) {
	ctx := context.Background()
	a, err := k.master.cipher(ctx, k.present)
	if err != nil {
		return nil, err
	}
	c, err := a.EncryptWithContext(ctx, key, fileData(path))
	if err != nil {
		return nil, fmt.Errorf("seal the key of %s with the %w from %s: %w", path, ErrMasterKey, k.present.origin, err)
	}
	return c, nil
}

// Open decrypts what Seal made for the same path, with the present or the old master key. A KMS is asked once for what one process has sealed.
func (k *FileKeys) Open(path string, sealed []byte) ([]byte, error) {
	key, err := k.open(k.present, path, sealed)
	if err != nil && k.old.origin != "" {
		if key, oldErr := k.open(k.old, path, sealed); oldErr == nil {
			return key, nil
		}
	}
	return key, err
}

func (k *FileKeys) open(from material, path string, sealed []byte) ([]byte, error) {
	ctx := context.Background()
	a, err := k.master.cipher(ctx, from)
	if err != nil {
		return nil, err
	}
	key, err := a.DecryptWithContext(ctx, sealed, fileData(path))
	if err == nil {
		return key, nil
	}
	const remedy = "name the right one with --master-key-file or --master-key-uri, or as --old-master-key-file if it has been replaced since"
	if from.uri != "" && !errors.Is(err, errNotEnvelope) {
		return nil, fmt.Errorf("%w: %s does not open the key of %s: %w; %s", ErrMasterKey, from.origin, path, err, remedy)
	}
	return nil, fmt.Errorf("%w: the key from %s is not the one that sealed the key of %s; %s", ErrMasterKey, from.origin, path, remedy)
}
