package compare

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// spill keeps fingerprints in a temporary file which has no name: it is gone with the process, however that ends.
// Not safe for concurrent use.
type spill struct {
	file *os.File
	w    *bufio.Writer
	name string // where a file in use cannot be removed
	size int64
}

func newSpill(dir string) (*spill, error) {
	file, err := os.CreateTemp(dir, "haloingest-diff-*") // with mode 0600
	if err != nil {
		return nil, fmt.Errorf("%w: %w", diff.ErrSpill, err)
	}
	s := &spill{file: file, w: bufio.NewWriterSize(file, 256<<10)}
	if os.Remove(file.Name()) != nil {
		s.name = file.Name()
	}
	return s, nil
}

func (s *spill) close() error {
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}

// fixed is what a fingerprint takes beside its id, and the id's length.
const fixed = 2 + 8 + 8 + 16 + 4 + 1

func (s *spill) add(f record.Fingerprint) error {
	var b [fixed]byte
	binary.BigEndian.PutUint16(b[0:], uint16(len(f.SourceID)))
	binary.BigEndian.PutUint64(b[2:], uint64(f.UpdatedAt))
	binary.BigEndian.PutUint64(b[10:], uint64(f.FetchedAt))
	copy(b[18:], f.Hash[:])
	binary.BigEndian.PutUint32(b[34:], uint32(f.Count))
	b[38] = byte(f.State)
	s.size += int64(len(b) + len(f.SourceID))
	if _, err := s.w.Write(b[:]); err != nil {
		return fmt.Errorf("%w: %w", diff.ErrSpill, err)
	}
	if _, err := s.w.WriteString(f.SourceID); err != nil {
		return fmt.Errorf("%w: %w", diff.ErrSpill, err)
	}
	return nil
}

// all yields what was added, in batches.
func (s *spill) all() iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		fail := func(err error) { yield(nil, fmt.Errorf("%w: %w", diff.ErrSpill, err)) }
		if err := s.w.Flush(); err != nil {
			fail(err)
			return
		}
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			fail(err)
			return
		}
		r := bufio.NewReaderSize(s.file, 256<<10)
		batch := make([]record.Fingerprint, 0, 1024)
		for {
			var b [fixed]byte
			_, err := io.ReadFull(r, b[:])
			if errors.Is(err, io.EOF) {
				break
			}
			id := make([]byte, binary.BigEndian.Uint16(b[0:]))
			if err == nil {
				_, err = io.ReadFull(r, id)
			}
			if err != nil {
				fail(err)
				return
			}
			batch = append(batch, record.Fingerprint{
				SourceID:  string(id),
				UpdatedAt: int64(binary.BigEndian.Uint64(b[2:])),
				FetchedAt: int64(binary.BigEndian.Uint64(b[10:])),
				Hash:      record.Digest(b[18:34]),
				Count:     int32(binary.BigEndian.Uint32(b[34:])),
				State:     record.FingerprintState(b[38]),
			})
			if len(batch) == cap(batch) {
				if !yield(batch, nil) {
					return
				}
				batch = batch[:0]
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}
