package pipeline

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RejectLimit says when rejects are no longer bad objects but an outage or a changed API. The zero
// value is the default; a negative Share switches the limit off.
type RejectLimit struct {
	Share float64 // of all items read in this run; 0 means 0.01
	Min   int     // rejects below which no share counts; 0 means 100
}

func (l RejectLimit) orDefault() RejectLimit {
	if l.Share == 0 {
		l.Share = 0.01
	}
	if l.Min == 0 {
		l.Min = 100
	}
	return l
}

// RejectFlood is the error of a run that rejected more than its RejectLimit. The batch that went over
// it is not committed, so its objects are read again by the next run.
type RejectFlood struct {
	Rejects, Items int64 // of the run, up to and with the batch that went over the limit
	Limit          RejectLimit
	Stage, Reason  string // of one of those that are most frequent, up to the objects that they name
	Count          int64  // how many are like it
}

func (e *RejectFlood) Error() string {
	return fmt.Sprintf("%v: %d of %d objects (limit %g %% and at least %d); most often %s: %s (%d like it)",
		ErrTooManyRejects, e.Rejects, e.Items, 100*e.Limit.Share, e.Limit.Min, e.Stage, e.Reason, e.Count)
}

func (e *RejectFlood) Is(target error) bool { return target == ErrTooManyRejects }

// maxReasons bounds the memory of a tally whose stages put values into their reasons.
const maxReasons = 1000

// reason is what rejects have in common that are of one cause.
type reason struct{ stage, field, text string }

// counted is how often there was a reason, and the words of its first reject.
type counted struct {
	n    int64
	text string
}

// reasonOf leaves out of a reject's reason what is the one object's: its id, and what else looks like a number or an id.
func reasonOf(r *Reject) reason {
	return reason{r.Stage, mask(r.Field, r.ID), mask(r.Reason, r.ID)}
}

// mask puts … in the place of an id, of words that hold a digit and more than three characters, and of numbers in square brackets. Shorter
// ones, as the status of a reply, say what is wrong.
func mask(text, id string) string {
	if strings.IndexFunc(text, unicode.IsDigit) < 0 && (id == "" || !strings.Contains(text, id)) {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		n := strings.IndexFunc(text, func(r rune) bool { return !isWord(r) })
		switch {
		case n < 0:
			n = len(text)
		case n == 0:
			_, n = utf8.DecodeRuneInString(text)
		}
		word := text[:n]
		indexed := strings.HasSuffix(out.String(), "[") && n < len(text) && text[n] == ']'
		if word == id || strings.IndexFunc(word, unicode.IsDigit) >= 0 && (n > 3 || indexed) {
			word = "…"
		}
		out.WriteString(word)
		text = text[n:]
	}
	return out.String()
}

func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_'
}

// tally counts items and rejects in commit order, so that a run over the same batches always stops at
// the same one.
type tally struct {
	limit          RejectLimit
	items, rejects int64
	reasons        map[reason]counted
}

// add counts one batch and returns the flood, if this is one.
func (t *tally) add(items int64, rejects []Reject) error {
	t.items += items
	t.rejects += int64(len(rejects))
	if t.limit.Share < 0 || len(rejects) == 0 {
		return nil
	}
	if t.reasons == nil {
		t.reasons = make(map[reason]counted)
	}
	for i := range rejects {
		key := reasonOf(&rejects[i])
		c, known := t.reasons[key]
		if !known {
			c.text = rejects[i].Reason
		}
		if known || len(t.reasons) < maxReasons {
			t.reasons[key] = counted{c.n + 1, c.text}
		}
	}
	if t.rejects < int64(t.limit.Min) || float64(t.rejects) <= t.limit.Share*float64(t.items) {
		return nil
	}
	flood := &RejectFlood{Rejects: t.rejects, Items: t.items, Limit: t.limit}
	for key, c := range t.reasons {
		first := c.n == flood.Count && (key.stage < flood.Stage || key.stage == flood.Stage && c.text < flood.Reason)
		if c.n > flood.Count || first {
			flood.Stage, flood.Reason, flood.Count = key.stage, c.text, c.n
		}
	}
	return flood
}
