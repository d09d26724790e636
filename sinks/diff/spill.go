package diff

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

// spill is a file of segments, each an Arrow IPC stream of its own with a checksum that is kept in memory. The file has no name any more
// where the system allows that, so it is gone with the process, however that ends.
type spill struct {
	file spillFile
	name string // to be removed; "" if it is already
	size int64
	buf  bytes.Buffer
}

// spillFile is what a spill needs of a file.
type spillFile interface {
	WriteAt(b []byte, at int64) (int, error)
	ReadAt(b []byte, at int64) (int, error)
	Close() error
}

type segment struct {
	at, size int64
	sum      uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newSpill(dir string) (*spill, error) {
	f, err := os.CreateTemp(dir, "haloingest-diff-*.arrows")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpill, err)
	}
	s := &spill{file: f, name: f.Name()}
	if os.Remove(s.name) == nil {
		s.name = ""
	}
	return s, nil
}

// write appends record batches.
func (s *spill) write(records []arrow.Record) (segment, error) {
	s.buf.Reset()
	w := ipc.NewWriter(&s.buf, ipc.WithSchema(schema))
	for _, r := range records {
		if err := w.Write(r); err != nil {
			return segment{}, fmt.Errorf("%w: encode fingerprints: %w", ErrSpill, err)
		}
	}
	if err := w.Close(); err != nil {
		return segment{}, fmt.Errorf("%w: encode fingerprints: %w", ErrSpill, err)
	}
	raw := s.buf.Bytes()
	if _, err := s.file.WriteAt(raw, s.size); err != nil {
		return segment{}, fmt.Errorf("%w: after %d bytes: %w", ErrSpill, s.size, err)
	}
	seg := segment{at: s.size, size: int64(len(raw)), sum: crc32.Checksum(raw, castagnoli)}
	s.size += seg.size
	return seg, nil
}

// read calls f with the record batches of a segment, which are valid during the call.
func (s *spill) read(seg segment, f func(arrow.Record) error) error {
	raw := make([]byte, seg.size)
	if _, err := s.file.ReadAt(raw, seg.at); err != nil {
		return fmt.Errorf("%w: read back at %d: %w", ErrSpill, seg.at, err)
	}
	if crc32.Checksum(raw, castagnoli) != seg.sum {
		return fmt.Errorf("%w: what was written at %d is not what is read back", ErrSpill, seg.at)
	}
	r, err := ipc.NewReader(bytes.NewReader(raw), ipc.WithSchema(schema))
	if err != nil {
		return fmt.Errorf("%w: read back at %d: %w", ErrSpill, seg.at, err)
	}
	defer r.Release()
	for r.Next() {
		if err := f(r.Record()); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: read back at %d: %w", ErrSpill, seg.at, err)
	}
	return nil
}

func (s *spill) close() error {
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSpill, err)
	}
	return nil
}
