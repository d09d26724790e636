package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"haloingest/sources/intercom/intercomtest"
)

// What a story about serve knows beside the rest:
//
//	answers FILE PATH N    wait until the service whose URL is in the file answers with the status; prints the answer
//	webhooks FILE SECRET   the simulated workspace tells that service of its changes, signed with what is in the second file
func init() {
	storyCommands["answers"] = plainCommand(3, 3, cmdAnswers)
	storyCommands["webhooks"] = plainCommand(2, 2, cmdWebhooks)
}

func cmdAnswers(ts *testscript.TestScript, s *story, args []string) {
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	last := "there is no URL"
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		base, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			continue // not yet
		}
		resp, err := client.Get(strings.TrimSpace(string(base)) + args[1])
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		ts.Check(err)
		if resp.StatusCode == want {
			fmt.Fprintf(ts.Stdout(), "%s", body)
			return
		}
		last = resp.Status + " " + string(body)
	}
	ts.Fatalf("%s does not answer with %d; the last was: %s", args[1], want, last)
}

func cmdWebhooks(ts *testscript.TestScript, s *story, args []string) {
	base, secret := strings.TrimSpace(ts.ReadFile(args[0])), strings.TrimSpace(ts.ReadFile(args[1]))
	s.sim(ts).SendWebhooks(intercomtest.Webhooks{URL: base + "/api/integrations/intercom/webhook/" + ts.Getenv("ORG"), Secret: secret, Live: true})
}
