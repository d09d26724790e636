package main

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestSignalsOfOneMomentAreOneAndALaterOneAborts(t *testing.T) {
	for name, c := range map[string]struct {
		same  time.Duration
		abort bool
	}{"within the moment": {time.Hour, false}, "after it": {0, true}} {
		t.Run(name, func(t *testing.T) {
			signals := make(chan os.Signal, 3)
			for range 3 {
				signals <- syscall.SIGTERM
			}
			stopped, aborted, over := 0, false, make(chan struct{})
			go func() {
				defer close(over)
				obey(signals, c.same, func() { stopped++ }, func() {
					aborted = len(signals) > 0 // before all were looked at
				})
			}()
			if !c.abort {
				for deadline := time.Now().Add(30 * time.Second); len(signals) > 0; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the signals are not taken")
					}
				}
			}
			close(signals)
			<-over
			if stopped != 1 || aborted != c.abort {
				t.Errorf("stopped %d times, aborted %v", stopped, aborted)
			}
		})
	}
}
