package localpg_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"haloingest/sinks/postgres/localpg"
)

func TestTwoProcessesShareOneServerAndTheLastOneStopsIt(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	first := startUser(t, dir)
	second := startUser(t, dir)
	if first.Adopted || !second.Adopted || first.PID != second.PID || first.URL != second.URL {
		t.Fatalf("the two have different servers: %+v, %+v", first.told, second.told)
	}
	first.leave()
	if got := query(t, second.URL, "SELECT 1"); got != "1" {
		t.Errorf("after the first has left the server answers %q", got)
	}
	second.leave()
	if runs(second.PID) {
		t.Error("the server runs although nobody uses it")
	}
}

func TestManyProcessesThatStartAtOnceOnANewDirectoryGetOneServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var users []*client
	var said []*bufio.Reader
	for range 5 {
		u, from := launch(t, dir, nil)
		users, said = append(users, u), append(said, from)
	}
	for i, u := range users {
		u.hear(said[i])
		if u.Err != "" || u.PID != users[0].PID {
			t.Errorf("got %+v beside %+v", u.told, users[0].told)
		}
	}
	for _, u := range users {
		u.leave()
	}
	if runs(users[0].PID) {
		t.Error("the server runs although nobody uses it")
	}
}

func TestAServerLeftBehindByKill9IsAdoptedAndStoppedByTheNextUser(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	owner := startUser(t, dir)
	query(t, owner.URL, "CREATE TABLE kept AS SELECT 7 AS a")
	owner.kill()
	if !runs(owner.PID) {
		t.Fatal("the server died with its owner")
	}
	next := startUser(t, dir)
	if !next.Adopted || next.PID != owner.PID {
		t.Errorf("got %+v, want the server of %+v", next.told, owner.told)
	}
	if got := query(t, next.URL, "SELECT a FROM kept"); got != "7" {
		t.Errorf("read back %q", got)
	}
	next.leave()
	if runs(owner.PID) {
		t.Error("the server runs although nobody uses it")
	}
}

func TestAUserKilledWithKill9DoesNotKeepTheServerFromBeingStopped(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	owner := startUser(t, dir)
	other := startUser(t, dir)
	owner.kill()
	if got := query(t, other.URL, "SELECT 1"); got != "1" {
		t.Errorf("the server answers %q", got)
	}
	other.leave()
	gone(t, owner.PID) // its parent is gone: whoever takes over must reap it
}

func TestAUserWhoKeepsNothingButTheAddressIsAUserUntilItsProcessEnds(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	u, from := launch(t, dir, nil, envForget+"=1")
	u.hear(from)
	if u.Err != "" {
		t.Fatal(u.Err)
	}
	if used, err := localpg.InUse(dir); err != nil || !used {
		t.Errorf("in use: %v, %v", used, err)
	}
	u.leave()
	if used, err := localpg.InUse(dir); err != nil || used {
		t.Errorf("in use after it has ended: %v, %v", used, err)
	}
}

func TestAServerThatWasKilledRecoversWithAllThatWasCommitted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// rest is done with the pid file of the dead server.
		rest func(t *testing.T, pidFile string)
	}{
		{"its stale pid file names nobody", func(*testing.T, string) {}},
		{"its stale pid file names a process that is something else", func(t *testing.T, pidFile string) {
			text, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Dir(pidFile))
			if err != nil {
				t.Fatal(err)
			}
			// As the same account as the server: a process of another one is no obstacle to PostgreSQL.
			st := info.Sys().(*syscall.Stat_t)
			sleeper := exec.Command("sleep", "600")
			if os.Geteuid() == 0 {
				sleeper.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}
			}
			if err := sleeper.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { sleeper.Process.Kill(); sleeper.Wait() })
			_, rest, _ := strings.Cut(string(text), "\n")
			if err := os.WriteFile(pidFile, []byte(strconv.Itoa(sleeper.Process.Pid)+"\n"+rest), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"its pid file was never written in full", func(t *testing.T, pidFile string) {
			if err := os.Truncate(pidFile, 0); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := madeData(t)
			owner := startUser(t, dir)
			query(t, owner.URL, "CREATE TABLE kept AS SELECT 7 AS a")
			owner.kill()
			killServer(t, owner.PID)
			test.rest(t, filepath.Join(dir, "postgres", "cluster", "postmaster.pid"))
			next := startUser(t, dir)
			if next.Adopted || next.URL != owner.URL {
				t.Errorf("got %+v after %+v", next.told, owner.told)
			}
			if got := query(t, next.URL, "SELECT a FROM kept"); got != "7" {
				t.Errorf("read back %q", got)
			}
			next.leave()
		})
	}
}

func TestAServerThatDiedUnderItsUsersIsStartedAgainByTheNextOneAtTheSameAddress(t *testing.T) {
	t.Parallel()
	dir := madeData(t)
	owner := startUser(t, dir)
	killServer(t, owner.PID)
	next := startUser(t, dir)
	if next.Adopted || next.PID == owner.PID || next.URL != owner.URL {
		t.Errorf("got %+v after %+v", next.told, owner.told)
	}
	next.leave()
	if got := query(t, owner.URL, "SELECT 1"); got != "1" {
		t.Errorf("for the first user the server answers %q", got)
	}
	owner.leave()
	gone(t, next.PID)
}
