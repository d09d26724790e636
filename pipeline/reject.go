package pipeline

import "fmt"

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
	Stage, Reason  string // the most frequent pair
	Count          int64  // how often that was
}

func (e *RejectFlood) Error() string {
	return fmt.Sprintf("%v: %d of %d objects (limit %g %% and at least %d); most often %s: %s (%d times)",
		ErrTooManyRejects, e.Rejects, e.Items, 100*e.Limit.Share, e.Limit.Min, e.Stage, e.Reason, e.Count)
}

func (e *RejectFlood) Is(target error) bool { return target == ErrTooManyRejects }

// maxReasons bounds the memory of a tally whose stages put values into their reasons.
const maxReasons = 1000

type reason struct{ stage, text string }

// tally counts items and rejects in commit order, so that a run over the same batches always stops at
// the same one.
type tally struct {
	limit          RejectLimit
	items, rejects int64
	reasons        map[reason]int64
}

// add counts one batch and returns the flood, if this is one.
func (t *tally) add(items int64, rejects []Reject) error {
	t.items += items
	t.rejects += int64(len(rejects))
	if t.limit.Share < 0 || len(rejects) == 0 {
		return nil
	}
	if t.reasons == nil {
		t.reasons = make(map[reason]int64)
	}
	for i := range rejects {
		key := reason{rejects[i].Stage, rejects[i].Reason}
		if _, known := t.reasons[key]; known || len(t.reasons) < maxReasons {
			t.reasons[key]++
		}
	}
	if t.rejects < int64(t.limit.Min) || float64(t.rejects) <= t.limit.Share*float64(t.items) {
		return nil
	}
	flood := &RejectFlood{Rejects: t.rejects, Items: t.items, Limit: t.limit}
	for key, n := range t.reasons {
		first := n == flood.Count && (key.stage < flood.Stage || key.stage == flood.Stage && key.text < flood.Reason)
		if n > flood.Count || first {
			flood.Stage, flood.Reason, flood.Count = key.stage, key.text, n
		}
	}
	return flood
}
