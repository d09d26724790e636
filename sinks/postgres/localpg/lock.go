package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockFile is one open file with a flock(2) lock. The kernel drops the lock when the process dies, however it dies. It is a bare
// descriptor rather than an *os.File, which the garbage collector would close under a user who keeps nothing but the URL; and it is
// closed on exec, so that the server that is started does not inherit it.
type lockFile struct {
	fd   int
	path string
}

// openLock opens the lock file at path, creating it for the owner of its folder, without locking it.
func openLock(path string) (*lockFile, error) {
	fd, err := -1, error(syscall.EINTR)
	for errors.Is(err, syscall.EINTR) {
		fd, err = syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := giveToFolderOwner(path); err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	return &lockFile{fd: fd, path: path}, nil
}

// try takes the lock if nobody stands in the way. how is syscall.LOCK_SH or LOCK_EX; a lock already held is converted.
func (l *lockFile) try(how int) (bool, error) {
	for {
		err := syscall.Flock(l.fd, how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		default:
			return false, fmt.Errorf("lock %s: %w", l.path, err)
		}
	}
}

// wait takes the lock, or returns an error when ctx ends first. A blocking flock cannot be interrupted by a context, so it asks
// again and again.
func (l *lockFile) wait(ctx context.Context, how int) error {
	for p := (poll{}); ; {
		ok, err := l.try(how)
		if ok || err != nil {
			return err
		}
		if err := p.pause(ctx); err != nil {
			return fmt.Errorf("wait for lock %s: %w", l.path, err)
		}
	}
}

// release drops the lock and closes the file. Closing alone would not drop it at once if this process happens to be starting a
// program: until that has begun it holds copies of all open files.
func (l *lockFile) release() error {
	if !l.open() {
		return nil
	}
	err := errors.Join(syscall.Flock(l.fd, syscall.LOCK_UN), syscall.Close(l.fd))
	l.fd = -1
	return err
}

func (l *lockFile) open() bool { return l != nil && l.fd >= 0 }

// poll paces a loop that looks whether something has happened: quick at first, then every 50 ms.
type poll struct{ delay time.Duration }

// pause sleeps a little, and returns the error of ctx once that has ended.
func (p *poll) pause(ctx context.Context) error {
	p.delay = min(max(2*p.delay, 2*time.Millisecond), 50*time.Millisecond)
	time.Sleep(p.delay)
	return ctx.Err()
}
