package postgres

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"haloingest/pipeline/record"
)

func TestModelStoreHoldsTheBudgetAmongMany(t *testing.T) {
	l := newLibrary(t)
	s := l.db.ModelStore(l.org, 25, 0)
	var done, refused atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				switch err := s.Request(t.Context()); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrBudget):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if done.Load() != 25 || refused.Load() != 15 {
		t.Errorf("%d done, %d refused", done.Load(), refused.Load())
	}
	if err := l.db.ModelStore(record.UUID{7}, 25, 0).Request(t.Context()); err != nil {
		t.Errorf("another organisation's: %v", err)
	}
	tokens := l.db.ModelStore(l.org, 0, 100)
	for _, n := range []int64{60, 60} {
		if err := tokens.Request(t.Context()); err != nil {
			t.Errorf("before the tokens are spent: %v", err)
		}
		if err := tokens.Tokens(t.Context(), n); err != nil {
			t.Error(err)
		}
	}
	if err := tokens.Request(t.Context()); !errors.Is(err, ErrBudget) {
		t.Errorf("after that: %v", err)
	}
	use, err := s.Usage(t.Context())
	if err != nil || len(use) != 1 || use[0].Requests != 27 || use[0].Tokens != 120 {
		t.Errorf("%+v, %v", use, err)
	}
}

func TestModelStoreKeepsTheFirstAnswer(t *testing.T) {
	l := newLibrary(t)
	s := l.db.ModelStore(l.org, 0, 0)
	key := [32]byte{1}
	if got, err := s.Answer(t.Context(), key); got != nil || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, answer := range []string{"one", "two"} {
		if err := s.Keep(t.Context(), key, []byte(answer)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Answer(t.Context(), key); string(got) != "one" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.Keep(t.Context(), [32]byte{2}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Answer(t.Context(), [32]byte{2}); got == nil || len(got) != 0 || err != nil {
		t.Errorf("an empty answer: %q, %v", got, err)
	}
	if got, err := l.db.ModelStore(record.UUID{7}, 0, 0).Answer(t.Context(), key); got != nil || err != nil {
		t.Errorf("another organisation's: %q, %v", got, err)
	}
}
