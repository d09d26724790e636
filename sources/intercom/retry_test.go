package intercom

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"haloingest/pipeline/record"
)

// roundTrip answers requests within the process, so that time can be virtual.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// fetchOver makes one Fetch against f, in virtual time, and returns when each attempt began.
func fetchOver(t *testing.T, o Options, f func(attempt int) (*http.Response, error)) (attempts []time.Duration, err error) {
	t.Helper()
	begun := time.Now()
	o.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		attempts = append(attempts, time.Since(begun))
		return f(len(attempts))
	})
	c, err := New("us", "token", o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Fetch(t.Context(), record.KindContact, "1")
	return attempts, err
}

func TestRetriesDoubleTheirWaitAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, err := fetchOver(t, Options{}, func(int) (*http.Response, error) { return answer(500, ""), nil })
		var e *Error
		if !errors.As(err, &e) || e.Attempts != 8 || e.Class != ClassTemporary || e.Alone {
			t.Fatalf("error %+v, want a temporary one after 8 attempts", err)
		}
		for i, base := range []time.Duration{1, 2, 4, 8, 16, 32, 60} {
			wait := attempts[i+1] - attempts[i]
			if base *= time.Second; wait < base*8/10 || wait > base*12/10 {
				t.Errorf("wait %d is %v, want %v give or take a fifth", i+1, wait, base)
			}
		}
	})
}

// A server error that lasts for one object, while another can be read, is the object's. Where the other cannot be read any more
// either, it is the service's, and that is waited for.
func TestAnObjectAtFaultHoldsNobodyUp(t *testing.T) {
	for _, tt := range []struct {
		name              string
		other, known      bool
		attempts, probes  int
		alone             bool
		shortest, longest time.Duration
	}{
		{"the other is well", true, true, 4, 1, true, 5 * time.Second, 9 * time.Second},
		{"the other fails as well", false, true, 8, 4, true, 90 * time.Second, 150 * time.Second},
		{"none has been read yet", true, false, 8, 0, false, 90 * time.Second, 150 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := map[string]int{}
				c, err := New("us", "token", Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					asked[r.URL.Path]++
					if r.URL.Path == "/conversations/1" && (tt.other || asked[r.URL.Path] == 1) {
						return answer(200, `{"id":"1"}`), nil
					}
					return answer(500, ""), nil
				})})
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if tt.known {
					if _, err := c.Fetch(t.Context(), record.KindConversation, "1"); err != nil {
						t.Fatal(err)
					}
				}
				_, err = c.Fetch(t.Context(), record.KindConversation, "2")
				var e *Error
				if !errors.As(err, &e) || e.Attempts != tt.attempts || asked["/conversations/2"] != tt.attempts {
					t.Errorf("error %v after %d attempts, want %d", err, asked["/conversations/2"], tt.attempts)
				}
				if n := asked["/conversations/1"]; tt.known && n != 1+tt.probes || !tt.known && n != 0 {
					t.Errorf("the other was read %d times", n)
				}
				if took := time.Since(begun); took < tt.shortest || took > tt.longest {
					t.Errorf("it took %v", took)
				}
				if tt.other && e != nil && e.Alone != tt.alone {
					t.Errorf("at fault alone: %v", e.Alone)
				}
			})
		})
	}
}

func TestRetriesEndWithTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, err := fetchOver(t, Options{MaxAttempts: 1000, MaxRetryTime: time.Minute}, func(int) (*http.Response, error) {
			return nil, errors.New("connection refused")
		})
		if last := attempts[len(attempts)-1]; err == nil || last > time.Minute || len(attempts) < 5 {
			t.Errorf("%d attempts until %v, error %v", len(attempts), last, err)
		}
		if !strings.Contains(err.Error(), "read contact 1: GET /contacts/1: no answer: connection refused") {
			t.Errorf("error %q", err)
		}
	})
}

func TestAnAttemptEndsWithItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		o := Options{MaxAttempts: 2, Timeout: 20 * time.Second, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		c, err := New("us", "token", o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Fetch(t.Context(), record.KindContact, "1")
		if class, _ := ClassOf(err); class != ClassTemporary || !strings.Contains(err.Error(), "no whole answer within 20s") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begun); took < 40*time.Second || took > 42*time.Second {
			t.Errorf("two attempts took %v", took)
		}
	})
}

func TestALimitIsWaitedForHoweverOftenItIsHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, err := fetchOver(t, Options{MaxAttempts: 2}, func(n int) (*http.Response, error) {
			if n <= 12 {
				return answer(429, `{"type":"error.list","errors":[{"code":"rate_limit_exceeded"}]}`, "Retry-After", "5"), nil
			}
			return answer(200, `{"id":"1"}`), nil
		})
		if err != nil || len(attempts) != 13 || attempts[12] < time.Minute || attempts[12] > 61*time.Second {
			t.Errorf("attempts %v, error %v; want the 13th after a minute", attempts, err)
		}
	})
}

func TestALimitIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, err := fetchOver(t, Options{}, func(int) (*http.Response, error) {
			return answer(429, "", "Retry-After", "30"), nil
		})
		if class, _ := ClassOf(err); class != ClassTemporary || attempts[len(attempts)-1] > 5*time.Minute {
			t.Errorf("attempts %v, error %v; want an end within 5 minutes", attempts, err)
		}
	})
}

func TestWhatIsRefusedIsNotTriedAgain(t *testing.T) {
	for _, status := range []int{400, 401, 403, 405, 406, 409, 415, 422} {
		synctest.Test(t, func(t *testing.T) {
			attempts, err := fetchOver(t, Options{}, func(int) (*http.Response, error) { return answer(status, ""), nil })
			if err == nil || len(attempts) != 1 {
				t.Errorf("%d: %d attempts, error %v", status, len(attempts), err)
			}
		})
	}
}

func TestTheServersTimeIsNeverAheadAndHardlyBehind(t *testing.T) {
	for _, ahead := range []time.Duration{0, 3700 * time.Millisecond, -time.Hour, 26 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			o := Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				time.Sleep(130 * time.Millisecond)
				date := time.Now().Add(ahead).UTC().Format(http.TimeFormat)
				time.Sleep(130 * time.Millisecond)
				return answer(200, `{"id":"1"}`, "Date", date), nil
			})}
			c, err := New("us", "token", o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				now, err := c.ServerTime(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				behind := time.Now().Add(ahead).Sub(now)
				if behind < 0 || behind > 2300*time.Millisecond || i > 10 && behind > 1500*time.Millisecond {
					t.Errorf("ahead %v: after %d replies the server's time is %v behind", ahead, i, behind)
				}
				if _, err := c.Fetch(t.Context(), record.KindContact, "1"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestTheClockSleepsNoLongerThanTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("interrupt")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		begun := time.Now()
		if err := (systemClock{}).Sleep(ctx, time.Minute); err != cause || time.Since(begun) != time.Second {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
		if err := (systemClock{}).Sleep(t.Context(), time.Minute); err != nil || time.Since(begun) != 61*time.Second {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
	})
}
