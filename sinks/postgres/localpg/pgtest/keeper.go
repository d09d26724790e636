package pgtest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"haloingest/sinks/postgres/localpg"
)

const (
	envKeeper = "HALOINGEST_PGTEST_KEEPER"
	// linger is for how long the shared server waits for another test binary: longer than the linker takes.
	linger = 20 * time.Second
)

// A test binary has no hook that runs when it ends, least of all when it is killed. So the one that finds no keeper starts itself
// once more in the background, with an environment variable that says so: the copy never gets to the tests, but waits until no
// process uses the shared server, and stops it.
func init() {
	dir := os.Getenv(envKeeper)
	if dir == "" {
		return
	}
	if err := keep(dir); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// keeperLock opens the file whose lock says that a keeper is at work. ok is false when another one holds it.
func keeperLock(dir string) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(filepath.Join(dir, "keeper.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return f, true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, false, f.Close()
	default:
		return nil, false, errors.Join(err, f.Close())
	}
}

// startKeeper starts a keeper unless there is one. The caller uses the server already, so that a keeper that is about to leave
// finds it in use and stays.
func startKeeper(dir string) error {
	f, ok, err := keeperLock(dir)
	if err != nil || !ok {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), envKeeper+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// keep returns after it has stopped the server, or at once if there is a keeper.
func keep(dir string) error {
	for {
		f, ok, err := keeperLock(dir)
		if err != nil || !ok {
			return err
		}
		for unused := time.Duration(0); unused < linger; unused += time.Second {
			time.Sleep(time.Second)
			used, err := localpg.InUse(dir)
			if err != nil {
				return err
			}
			if used {
				unused = 0
			}
		}
		// Who starts using the server from here on finds no keeper and starts another.
		if err := f.Close(); err != nil {
			return err
		}
		stopped, err := localpg.StopUnused(context.Background(), localpg.Options{DataDir: dir, Throwaway: true})
		if err != nil || stopped {
			return err
		}
	}
}
