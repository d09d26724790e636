package extract

import (
	"strings"
	"unicode/utf8"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

const (
	// maxNames bounds the different names that one batch may add to each class of counters, so that
	// a workspace which makes up a field per object does not fill the run's record with them. What
	// goes beyond is counted as "<class>/(other)".
	maxNames = 100
	// maxName is the length in bytes at which a name or value is cut.
	maxName = 64
)

// tally counts what one batch saw and did not map. Not safe for concurrent use.
type tally struct {
	counts  map[string]*int64
	classes map[string]int // names so far, by class
	key     []byte         // scratch
}

func newTally() *tally {
	return &tally{counts: make(map[string]*int64), classes: make(map[string]int)}
}

// add counts class + separator + name. The class must come from the program; the name may come from
// the data.
func (t *tally) add(class string, separator byte, name []byte) {
	t.key = append(append(append(t.key[:0], class...), separator), name...)
	if n, ok := t.counts[string(t.key)]; ok {
		*n++
		return
	}
	full := class + string(separator) + short(string(name))
	n, ok := t.counts[full]
	if !ok {
		if t.classes[class]++; t.classes[class] > maxNames {
			full = class + string(separator) + "(other)"
			if n, ok = t.counts[full]; ok {
				*n++
				return
			}
		}
		n = new(int64)
		t.counts[full] = n
	}
	*n++
}

// plain counts a name of the program's own.
func (t *tally) plain(name string) {
	n, ok := t.counts[name]
	if !ok {
		n = new(int64)
		t.counts[name] = n
	}
	*n++
}

func (t *tally) result() pipeline.Counts {
	if len(t.counts) == 0 {
		return nil
	}
	counts := make(pipeline.Counts, len(t.counts))
	for name, n := range t.counts {
		counts[name] = *n
	}
	return counts
}

// short makes a text fit for a counter's name or one line of a message: clean, without control
// characters, and cut at a character.
func short(s string) string {
	if len(s) > 4*maxName {
		s = s[:4*maxName] // the rest is cut below, at a character
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, record.CleanText(s))
	if len(s) <= maxName {
		return s
	}
	end := maxName
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
