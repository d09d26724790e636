package intercom

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ErrSpool is a temporary file that cannot be made, written or read: a full or missing disk, mostly.
var ErrSpool = errors.New("keep companies in a temporary file")

// spool keeps the pages of a scroll in a temporary file: for each page its time (unix nanoseconds) and its
// length, 8 bytes each, and its body. Not safe for concurrent use.
type spool struct {
	file  *os.File
	w     *bufio.Writer
	r     *bufio.Reader
	name  string // to be removed at the end, where a file in use cannot be
	pages int
}

// newSpool makes the file in dir, or in the system's place for temporary files.
func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, "haloingest-scroll-*") // with mode 0600
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	s := &spool{file: file, w: bufio.NewWriterSize(file, 256<<10)}
	if os.Remove(file.Name()) != nil {
		s.name = file.Name()
	}
	return s, nil
}

func (s *spool) close() {
	_ = s.file.Close() // nothing in it is needed any more
	if s.name != "" {
		_ = os.Remove(s.name)
	}
}

// reset empties the spool.
func (s *spool) reset() error {
	s.pages = 0
	s.w.Reset(s.file)
	_, err := s.file.Seek(0, io.SeekStart)
	if err == nil {
		err = s.file.Truncate(0)
	}
	return wrapSpool(err)
}

// add appends a page.
func (s *spool) add(r reply) error {
	var frame [16]byte
	binary.BigEndian.PutUint64(frame[:8], uint64(r.at.UnixNano()))
	binary.BigEndian.PutUint64(frame[8:], uint64(len(r.body)))
	_, err := s.w.Write(frame[:])
	if err == nil {
		_, err = s.w.Write(r.body)
	}
	s.pages++
	return wrapSpool(err)
}

// rewind ends the writing and begins the reading.
func (s *spool) rewind() error {
	if err := s.w.Flush(); err != nil {
		return wrapSpool(err)
	}
	s.r = bufio.NewReaderSize(s.file, 256<<10)
	_, err := s.file.Seek(0, io.SeekStart)
	return wrapSpool(err)
}

// next returns the next page.
func (s *spool) next() (reply, error) {
	var frame [16]byte
	if _, err := io.ReadFull(s.r, frame[:]); err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	at := time.Unix(0, int64(binary.BigEndian.Uint64(frame[:8]))).UTC()
	body := make([]byte, binary.BigEndian.Uint64(frame[8:]))
	if _, err := io.ReadFull(s.r, body); err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return reply{body: body, at: at}, nil
}

func wrapSpool(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrSpool, err)
}
