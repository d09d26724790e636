package parquet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"haloingest/pipeline/record"
)

// ManifestVersion is the version of the manifest's own format: the newest that is known. A manifest has the least one that says what it has
// to say, so that older programs read it if they can.
const (
	ManifestVersion = versionSealed

	versionFirst  = 1
	versionSealed = 2 // has Sealed
)

// Manifest says what of a run is part of the snapshot. It is written anew, whole, whenever it changes.
type Manifest struct {
	Version    int               `json:"version"`
	Schema     int               `json:"schema"`  // SchemaVersion
	Digest     int               `json:"digest"`  // record.DigestVersion of all hashes
	Program    string            `json:"program"` // who wrote it
	Org        record.UUID       `json:"org"`
	Run        record.UUID       `json:"run"`
	Kind       string            `json:"kind"` // backfill, sync, ...
	Mapping    map[string]string `json:"mapping"`
	StartedAt  time.Time         `json:"started_at"`
	FinishedAt time.Time         `json:"finished_at,omitzero"` // zero: the run is not complete
	Complete   bool              `json:"complete"`
	// Since and SyncedTo are the run's span: what changed from Since on (zero: ever) and before SyncedTo has been read. SyncedTo is zero unless the run was
	// complete and moved the connection's bookmark (a part, a sample and a retry do not). A replay continues the bookmark from run to run by them.
	Since    time.Time `json:"since,omitzero"`
	SyncedTo time.Time `json:"synced_to,omitzero"`
	// Reference are the names that rows were made with; nil if they are not known, or Sealed.
	Reference *record.Reference `json:"reference,omitempty"`
	Sealed    *Sealed           `json:"sealed,omitempty"` // what an encrypted snapshot does not show
	Files     []FileInfo        `json:"files"`            // in order of stream, Seq, layer and table
	// Sum is the SHA-256, hexadecimal, of the manifest's JSON with an empty Sum, so that a manifest whose bytes have changed is known for it.
	Sum string `json:"sum"`
}

// Sealed is a part of a manifest that is encrypted, by Encrypt for the manifest's path.
type Sealed struct {
	Key       []byte `json:"key"`       // the part's own key, sealed like that of a file
	Reference []byte `json:"reference"` // JSON of a record.Reference
}

// seal hides what of the manifest is about people.
func (m *Manifest) seal(seal SealFunc) error {
	if m.Reference == nil {
		return nil
	}
	raw, err := json.Marshal(m.Reference)
	if err != nil {
		return fmt.Errorf("encode the names of run %s: %w", m.Run, err)
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	path := ManifestPath(m.Org, m.Run)
	var out bytes.Buffer
	w, err := Encrypt(&out, key, path)
	if err != nil {
		return err
	}
	if _, err = w.Write(raw); err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("encrypt the names of run %s: %w", m.Run, err)
	}
	sealed, err := seal(path, key)
	if err != nil {
		return err
	}
	m.Reference, m.Sealed = nil, &Sealed{Key: sealed, Reference: out.Bytes()}
	return nil
}

// Open decrypts the names of the manifest at path. key is Key, opened. The error wraps ErrDecrypt where a byte has changed, or the key or the
// path is another one.
func (s *Sealed) Open(path string, key []byte) (*record.Reference, error) {
	raw, err := Decrypt(s.Reference, key, path)
	if err != nil {
		return nil, err
	}
	out := new(record.Reference)
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("names in %s: %w", path, err)
	}
	return out, nil
}

// Encode returns the manifest as it is stored, with its Sum.
func (m Manifest) Encode() ([]byte, error) {
	m.Sum = ""
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest of run %s: %w", m.Run, err)
	}
	sum := sha256.Sum256(raw)
	m.Sum = hex.EncodeToString(sum[:])
	if raw, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("encode the manifest of run %s: %w", m.Run, err)
	}
	return append(raw, '\n'), nil
}

// ErrManifest says that a manifest is not as Encode made it.
var ErrManifest = errors.New("its bytes are not those that were written")

// DecodeManifest reads what Encode made. The error wraps ErrManifest where any byte has changed. Versions are for the caller to check.
func DecodeManifest(raw []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	again, err := m.Encode()
	if err != nil {
		return m, err
	}
	if !bytes.Equal(again, raw) {
		return m, ErrManifest
	}
	return m, nil
}

// Keys of Manifest.Mapping: what decides how objects become rows.
const (
	MappingUserIDField    = "user_id_field"
	MappingCompanyIDField = "company_id_field"
	MappingDistiller      = "distiller"
)

// Layers of a snapshot.
const (
	LayerPages = "pages"
	LayerRows  = "rows"
)

// FileInfo describes one file. It travels as pipeline.File.Meta to the transaction that makes the file visible, is
// kept as a row of ingest.snapshot_files, and stands in the manifest.
type FileInfo struct {
	Path   string `json:"path"`  // below the snapshot's folder, with slashes
	Layer  string `json:"layer"` // pages, rows
	Stream string `json:"stream"`
	Table  string `json:"table"` // rows: a table; pages: the kind's plural
	Seq    int64  `json:"seq"`   // of the segment within its stream and run, over all attempts
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the file as stored, hexadecimal
	// First and Last are the least and greatest source_id, bytewise.
	First string `json:"first,omitempty"`
	Last  string `json:"last,omitempty"`
	// Buckets are fingerprints of the rows by the first byte of SHA-256(source_id) modulo len(Buckets): the sum modulo
	// 2^128 of SHA-256(source_id NUL fetched_at content) cut to 16 bytes, hexadecimal; so rows can be checked without their order.
	Buckets []string `json:"buckets"`
	// Key is the file's own key, sealed; empty where the file is not encrypted.
	Key []byte `json:"key,omitempty"`
}
