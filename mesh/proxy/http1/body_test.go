package http1

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReplayFromTheStart(t *testing.T) {
	p := newReplay(iotest.OneByteReader(strings.NewReader("a body")))
	first := p.reader()
	io.ReadFull(first, make([]byte, 3))
	if !p.rewind() {
		t.Fatal("a short body cannot be read again")
	}
	second := p.reader()
	if got, err := io.ReadAll(second); err != nil || string(got) != "a body" {
		t.Errorf("again: %q, %v", got, err)
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, errNotReplayable) {
		t.Errorf("the earlier reader goes on: %v", err)
	}
	third, err := p.again()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(third); err != nil || string(got) != "a body" {
		t.Errorf("a third time: %q, %v", got, err)
	}
}

func TestReplayForgetsLargeBodies(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 3*replayable)
	p := newReplay(bytes.NewReader(body))
	if got, err := io.ReadAll(p.reader()); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if p.rewind() {
		t.Error("a large body is said to be there still")
	}
	if _, err := p.again(); err == nil {
		t.Error("a large body was read again")
	}
	if p.record != nil {
		t.Error("a large body is kept")
	}
}

// waiting is a source whose reader waits.
type waiting struct{ entered, leave chan struct{} }

func (w waiting) Read([]byte) (int, error) {
	close(w.entered)
	<-w.leave
	return 0, io.EOF
}

// A reader that waits for the caller holds nobody up.
func TestReplayDoesNotWait(t *testing.T) {
	source := waiting{make(chan struct{}), make(chan struct{})}
	p := newReplay(source)
	reader, done := p.reader(), make(chan struct{})
	go func() {
		defer close(done)
		reader.Read(make([]byte, 1))
	}()
	<-source.entered
	if p.rewind() {
		t.Error("rewound under a reader that waits")
	}
	close(source.leave)
	<-done
}

func TestReplayPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	p := newReplay(io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)))
	for range 2 {
		if got, err := io.ReadAll(p.reader()); string(got) != "ab" || !errors.Is(err, broken) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
