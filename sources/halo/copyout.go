package halo

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// copyOut takes apart the stream of a binary COPY TO STDOUT (PostgreSQL manual, COPY, "Binary Format") and calls row with the fields of
// each row, nil where NULL, valid until it returns. It is an io.Writer for pgconn, which writes a message at a time: mostly a row.
type copyOut struct {
	row    func(fields [][]byte) error
	fields [][]byte
	rest   []byte // of a row that has not come whole
	bytes  int64
	header bool
	done   bool
}

const copySignature = "PGCOPY\n\xff\r\n\x00"

var errCopyFormat = errors.New("the server's COPY stream is not in the expected format")

func (c *copyOut) Write(b []byte) (int, error) {
	n := len(b)
	c.bytes += int64(n)
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	left, err := c.parse(b)
	if err != nil {
		return 0, err
	}
	c.rest = append(c.rest[:0], left...)
	return n, nil
}

func (c *copyOut) parse(b []byte) (left []byte, err error) {
	if !c.header {
		const fixed = len(copySignature) + 8
		if len(b) < fixed {
			return b, nil
		}
		size := fixed + int(binary.BigEndian.Uint32(b[fixed-4:]))
		if string(b[:len(copySignature)]) != copySignature || len(b) < size {
			return nil, errCopyFormat
		}
		c.header = true
		b = b[size:]
	}
	for len(b) >= 2 && !c.done {
		count := int(int16(binary.BigEndian.Uint16(b)))
		if count < 0 {
			c.done = true
			return nil, nil
		}
		fields, at := c.fields[:0], 2
		for range count {
			if len(b) < at+4 {
				return b, nil
			}
			size := int(int32(binary.BigEndian.Uint32(b[at:])))
			at += 4
			if size < 0 {
				fields = append(fields, nil)
				continue
			}
			if len(b) < at+size {
				return b, nil
			}
			fields = append(fields, b[at:at+size:at+size])
			at += size
		}
		c.fields = fields
		if err := c.row(fields); err != nil {
			return nil, err
		}
		b = b[at:]
	}
	return b, nil
}

// end checks that the stream was whole.
func (c *copyOut) end() error {
	if !c.done || len(c.rest) > 0 {
		return fmt.Errorf("%w: it ended in the middle", errCopyFormat)
	}
	return nil
}
