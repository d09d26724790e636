package secret

import (
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

const placeholder = "[secret]"

func (t Text) String() string               { return placeholder }
func (t Text) GoString() string             { return placeholder }
func (t Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(placeholder)) }
func (t Text) MarshalText() ([]byte, error) { return []byte(placeholder), nil }
