package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
)

// A killed replay that is given again ends with the rows of an unbroken one.
func TestAReplayKilledAtRandomSegmentsEndsLikeAnUnbrokenOne(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 5, intercomtest.Options{Conversations: 260, Contacts: 90, Companies: 20, Tickets: 50, Oddities: 60, ScrollIdle: time.Second})
	h.past()
	want := lines(t, h.dbURL, whole)
	from := smaller(t, h.snapshot, 9)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rounds := 2
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		rounds = 60
	}
	random := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	kills := 0
	for range rounds {
		url := pgtest.New(t)
		for range 6 {
			cmd := exec.Command(self, "replay", "--snapshot", from, "--database-url", url, "--data-dir", h.dir)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(random.Int64N(int64(1500*time.Millisecond))), func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			if err == nil || cmd.ProcessState.ExitCode() == exitDiffers {
				break
			}
			if !killed(err) {
				t.Fatalf("replay: %v\n%s", err, stderr.String())
			}
			kills++
		}
		h.replay(url, from)
		equalRows(t, "killed and given again", want, lines(t, url, whole))
	}
	t.Logf("%d kills in %d rounds", kills, rounds)
	if kills == 0 {
		t.Error("nothing was killed")
	}
}
