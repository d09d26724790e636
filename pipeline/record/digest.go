package record

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"time"
)

// DigestVersion is the first byte of everything that is hashed. It goes up when the encoding or the
// set of hashed columns changes, so that digests of two versions never look equal by accident.
const DigestVersion = 1

// Digest is a 128-bit fingerprint of a row's values: the first half of a SHA-256.
type Digest [16]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Encoder builds the canonical encoding of a row, field by field: a type tag and, where it varies, a
// length before every value, so that NULL, "" and an absent field differ and no two rows share an
// encoding. The zero Encoder is ready; Reset keeps its buffer. Not safe for concurrent use.
type Encoder struct{ buf []byte }

const (
	tagNull = iota
	tagText
	tagTime
	tagInt
	tagBool
	tagJSON
	tagBytes
	tagList
	tagFloat
)

// Reset forgets all fields and starts a row of the named table.
func (e *Encoder) Reset(table string) {
	e.buf = append(e.buf[:0], DigestVersion)
	e.Text(table)
}

// Null adds a NULL.
func (e *Encoder) Null() { e.buf = append(e.buf, tagNull) }

// Text adds a text, byte-exact.
func (e *Encoder) Text(s string) {
	e.head(tagText, len(s))
	e.buf = append(e.buf, s...)
}

// NullText adds a text, NULL where it is empty.
func (e *Encoder) NullText(s string) {
	if s == "" {
		e.Null()
		return
	}
	e.Text(s)
}

// Time adds an instant in microseconds, NULL where it is zero.
func (e *Encoder) Time(t time.Time) {
	if t.IsZero() {
		e.Null()
		return
	}
	e.buf = append(e.buf, tagTime)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(t.UnixMicro()))
}

// Int adds an integer.
func (e *Encoder) Int(n int64) {
	e.buf = append(e.buf, tagInt)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(n))
}

// NullInt adds an integer, NULL where it is 0.
func (e *Encoder) NullInt(n int64) {
	if n == 0 {
		e.Null()
		return
	}
	e.Int(n)
}

// Float adds a float by its bits; all NaNs are one and -0 is 0.
func (e *Encoder) Float(f float64) {
	switch {
	case f == 0:
		f = 0
	case f != f:
		f = math.NaN()
	}
	e.buf = append(e.buf, tagFloat)
	e.buf = binary.BigEndian.AppendUint64(e.buf, math.Float64bits(f))
}

// Bool adds a boolean.
func (e *Encoder) Bool(b bool) {
	e.buf = append(e.buf, tagBool, 0)
	if b {
		e.buf[len(e.buf)-1] = 1
	}
}

// JSON adds a document that is canonical already (see CanonicalJSON), NULL where it is empty.
func (e *Encoder) JSON(canonical []byte) {
	if len(canonical) == 0 {
		e.Null()
		return
	}
	e.head(tagJSON, len(canonical))
	e.buf = append(e.buf, canonical...)
}

// Bytes adds raw bytes, NULL where nil.
func (e *Encoder) Bytes(b []byte) {
	if b == nil {
		e.Null()
		return
	}
	e.head(tagBytes, len(b))
	e.buf = append(e.buf, b...)
}

// Texts adds a list of texts.
func (e *Encoder) Texts(list []string) {
	e.head(tagList, len(list))
	for _, s := range list {
		e.Text(s)
	}
}

// Sum returns the digest of all fields since Reset.
func (e *Encoder) Sum() Digest {
	full := sha256.Sum256(e.buf)
	return Digest(full[:len(Digest{})])
}

func (e *Encoder) head(tag byte, n int) {
	e.buf = append(e.buf, tag)
	e.buf = binary.AppendUvarint(e.buf, uint64(n))
}
