package access

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"
)

// hashing is what OWASP's password storage cheat sheet asks of argon2id at least: 19 MiB, two passes, one thread.
var hashing = argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// hashWait is how long an attempt waits for its turn.
const hashWait = 10 * time.Second

// errBusy says that more people want to sign in than there is memory for.
var errBusy = errors.New("too many sign-ins at once")

// hasher hashes and compares passwords, a few at a time: each takes 19 MiB, and nobody has to be known to ask for one.
type hasher struct {
	slots chan struct{}
	dummy func() (string, error) // what is compared where there is no such person, or no password
}

func newHasher() *hasher {
	return &hasher{
		slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		dummy: sync.OnceValues(func() (string, error) { return argon2id.CreateHash("nobody has this password", &hashing) }),
	}
}

// warm makes the hash that stands for nobody's, so that not even the first attempt takes longer than others.
func (h *hasher) warm(ctx context.Context) error {
	return h.turn(ctx, func() error {
		_, err := h.dummy()
		return err
	})
}

func (h *hasher) turn(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hashWait, errBusy)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-h.slots }()
	return f()
}

func (h *hasher) hash(ctx context.Context, password string) (hash string, err error) {
	err = h.turn(ctx, func() error {
		hash, err = argon2id.CreateHash(norm.NFKC.String(password), &hashing)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// check compares a password with its hash, and takes as long where there is none (""). weak says that the hash was made for less effort
// than is usual now.
func (h *hasher) check(ctx context.Context, password, hash string) (ok, weak bool, err error) {
	err = h.turn(ctx, func() error {
		against := hash
		if against == "" {
			if against, err = h.dummy(); err != nil {
				return err
			}
		}
		same, p, err := argon2id.CheckHash(norm.NFKC.String(password), against)
		if err != nil {
			return err
		}
		ok = same && hash != ""
		weak = ok && (p.Memory < hashing.Memory || p.Iterations < hashing.Iterations)
		return nil
	})
	if err != nil {
		return false, false, fmt.Errorf("check a password: %w", err)
	}
	return ok, weak, nil
}

const (
	minPassword = 12      // characters
	maxPassword = 1 << 10 // bytes
)

// InputError is something that a person has given and that cannot be taken. Its text is for that person.
type InputError struct{ Text string }

func (e *InputError) Error() string { return e.Text }

func inputf(format string, args ...any) error { return &InputError{fmt.Sprintf(format, args...)} }

// CheckPassword says what is wrong with a new password of the person with that name. Length is what counts; which characters it has does not. Those
// that everybody tries first are refused. The error is an *InputError.
func CheckPassword(password, name string) error {
	switch {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return inputf("The password holds characters that cannot be typed.")
	case utf8.RuneCountInString(password) < minPassword:
		return inputf("The password is too short: it needs at least %d characters. A few words in a row are easy to remember.", minPassword)
	case len(password) > maxPassword:
		return inputf("The password is too long: at most %d bytes are possible.", maxPassword)
	}
	plain := strings.ToLower(norm.NFKC.String(password))
	name = nameKey(name)
	local, _, _ := strings.Cut(name, "@")
	switch {
	// A short name is part of many passwords by chance.
	case len(name) >= 6 && strings.Contains(plain, name), name != "" && strings.HasPrefix(plain, local) && strings.Trim(plain[len(local):], digits) == "":
		return inputf("The password holds the name itself: whoever knows the name would try that first.")
	case common(plain):
		return inputf("This password is one of those that are tried first. Take one that nobody else would think of; a few words in a row are easy to remember.")
	}
	return nil
}

// digits and signs are what people put around a word to make a password of it.
const digits = "0123456789!@#$%^&*()-_=+.,;:?/ "

// rows are keys in a row, and other orders that fingers know.
var rows = []string{"01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba",
	"qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "poiuytrewqlkjhgfdsamnbvcxz", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
	"!@#$%^&*()_+", "q1w2e3r4t5y6u7i8o9p0", "zaq12wsxcde34rfvbgt56yhn"}

// words are what the passwords are made of that are used most.
var words = []string{"password", "passwort", "passphrase", "passw0rd", "p@ssw0rd", "p@ssword", "pa55word", "motdepasse", "contrasena", "letmein", "welcome", "iloveyou",
	"administrator", "admin", "root", "user", "login", "secret", "changeme", "default", "temp", "test", "guest", "master", "monkey", "dragon", "football", "baseball", "princess",
	"sunshine", "superman", "batman", "shadow", "trustno", "starwars", "whatever", "qwerty", "qwertz", "azerty", "asdf", "zxcvbn", "abc", "hello", "summer", "winter", "spring",
	"autumn", "halo", "ingest", "intercom", "company", "support", "the", "my", "is", "new", "one", "love", "mother", "jesus", "michael", "ashley", "charlie", "computer", "internet",
	"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december", "monday", "friday"}

// common reports whether a password, in lower case, is made of nothing but what everybody thinks of: few different characters, something
// short again and again, keys in a row, or the usual words with figures and signs around them.
func common(p string) bool {
	seen := map[rune]bool{}
	for _, r := range p {
		seen[r] = true
	}
	if len(seen) < 5 || repeats(p) {
		return true
	}
	for _, row := range rows {
		if strings.Contains(row, p) {
			return true
		}
	}
	return made(p)
}

// repeats reports whether p is a piece of at most a third of it, again and again.
func repeats(p string) bool {
	for n := 1; n <= len(p)/3; n++ {
		if strings.Repeat(p[:n], len(p)/n+1)[:len(p)] == p {
			return true
		}
	}
	return false
}

// made reports whether p is nothing but usual words, rows of at least four keys, and figures and signs.
func made(p string) bool {
	ends := make([]bool, len(p)+1) // whether p can be made up to there
	ends[0] = true
	for i := range p {
		if !ends[i] {
			continue
		}
		if strings.IndexByte(digits, p[i]) >= 0 {
			ends[i+1] = true
		}
		for _, w := range words {
			if strings.HasPrefix(p[i:], w) {
				ends[i+len(w)] = true
			}
		}
		for n := 4; i+n <= len(p); n++ {
			in := false
			for _, row := range rows {
				in = in || strings.Contains(row, p[i:i+n])
			}
			if !in {
				break
			}
			ends[i+n] = true
		}
	}
	// Figures and signs alone are a password if they are many, and no row.
	letters := strings.Trim(p, digits) != ""
	return ends[len(p)] && (letters || len(p) < 16)
}
