package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Text is a secret that does not print: every formatting verb and encoder shows a placeholder. Texts are compared by what they Reveal.
type Text struct {
	// A pointer, since fmt calls no method of what it finds in an unexported field or meets with %p: it prints an address there.
	value *string
}

// NewText takes a secret as people paste it: outer blanks and line ends do not count.
func NewText(s string) Text { return textOf(strings.TrimSpace(s)) }

func textOf(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&s}
}

// Reveal returns the secret itself, for the one place that must send it.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsEmpty reports whether there is no secret.
func (t Text) IsEmpty() bool { return t.value == nil }

// Hint is the secret's last four characters, or nothing where that would be too much of it.
func (t Text) Hint() string {
	s := t.Reveal()
	if len(s) < 12 {
		return ""
	}
	return s[len(s)-4:]
}

// Fingerprint is by what people know a token again without seeing it: the first 12 hexadecimal digits of its SHA-256, as sha256sum prints it for
// the token without a line end. It is for secrets of Intercom's making only: those are long and random, so that 48 bits give nothing away; of a
// password it would.
func (t Text) Fingerprint() string {
	if len(t.Reveal()) < 12 {
		return ""
	}
	sum := sha256.Sum256([]byte(t.Reveal()))
	return hex.EncodeToString(sum[:6])
}

const placeholder = "[secret]"

func (t Text) String() string               { return placeholder }
func (t Text) GoString() string             { return placeholder }
func (t Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(placeholder)) }
func (t Text) MarshalText() ([]byte, error) { return []byte(placeholder), nil }
