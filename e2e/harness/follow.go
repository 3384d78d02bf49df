package harness

import (
	"context"
	"fmt"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Record is everything that a set of objects went through since Follow. It is safe for concurrent use.
type Record[T client.Object] struct {
	stop func()
	done chan struct{}

	mu      sync.Mutex
	current map[types.UID]T
	history []T
	gone    map[types.UID]bool
	changed chan struct{}
}

// Follow begins to record the objects that the options select, until the context or Stop ends it. It
// returns when the first list is in. Objects in the record must not be modified.
func Follow[T client.Object](ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) (*Record[T], error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &Record[T]{
		stop: cancel, done: make(chan struct{}),
		current: map[types.UID]T{}, gone: map[types.UID]bool{}, changed: make(chan struct{}),
	}
	fresh := func() client.ObjectList { return list.DeepCopyObject().(client.ObjectList) }
	with := func(raw metav1.ListOptions) []client.ListOption {
		all := &client.ListOptions{}
		for _, option := range options {
			option.ApplyToList(all)
		}
		all.Raw = &raw
		return []client.ListOption{all}
	}
	example, err := itemOf[T](c, list)
	if err != nil {
		cancel()
		return nil, err
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, raw metav1.ListOptions) (runtime.Object, error) {
				l := fresh()
				return l, c.List(ctx, l, with(raw)...)
			},
			WatchFuncWithContext: func(ctx context.Context, raw metav1.ListOptions) (watch.Interface, error) {
				return c.Watch(ctx, fresh(), with(raw)...)
			},
		},
		ObjectType: example,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { r.put(o, false) },
			UpdateFunc: func(_, o any) { r.put(o, false) },
			DeleteFunc: func(o any) { r.put(o, true) },
		},
	})
	go func() {
		defer close(r.done)
		informer.RunWithContext(ctx)
	}()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		r.Stop()
		return nil, fmt.Errorf("follow %T: %w", list, context.Cause(ctx))
	}
	return r, nil
}

// itemOf makes an object of the kind that the list holds.
func itemOf[T client.Object](c client.Client, list client.ObjectList) (runtime.Object, error) {
	gvk, err := c.GroupVersionKindFor(list)
	if err != nil {
		return nil, fmt.Errorf("find kind of list: %w", err)
	}
	gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	object, err := c.Scheme().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make object: %w", err)
	}
	if _, ok := object.(T); !ok {
		return nil, fmt.Errorf("make object: %T is not what is to be recorded", object)
	}
	return object, nil
}

func (r *Record[T]) put(o any, deleted bool) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	object, ok := o.(T)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, object)
	if deleted {
		delete(r.current, object.GetUID())
		r.gone[object.GetUID()] = true
	} else {
		r.current[object.GetUID()] = object
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// Stop ends the recording; what was recorded stays.
func (r *Record[T]) Stop() {
	r.stop()
	<-r.done
}

// Current returns the objects that exist, in no order.
func (r *Record[T]) Current() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	objects := make([]T, 0, len(r.current))
	for _, o := range r.current {
		objects = append(objects, o)
	}
	return objects
}

// History returns every state of every object, in the order seen.
func (r *Record[T]) History() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.history)
}

// Changed returns a channel that is closed at the next change.
func (r *Record[T]) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Await waits until the objects that exist satisfy the condition. What is waited for is part of the
// error when the context ends first.
func (r *Record[T]) Await(ctx context.Context, what string, condition func([]T) bool) error {
	for {
		changed := r.Changed() // before looking, so that no change is missed
		if condition(r.Current()) {
			return nil
		}
		select {
		case <-changed:
		case <-r.done:
			return fmt.Errorf("wait for %s: the recording has ended", what)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// AwaitPast waits until some state of some object since the recording began satisfied the condition,
// and returns the first of them: moments too short for Await count too.
func (r *Record[T]) AwaitPast(ctx context.Context, what string, condition func(T) bool) (T, error) {
	var none T
	seen := 0
	for {
		changed := r.Changed()
		history := r.History()
		for ; seen < len(history); seen++ {
			if condition(history[seen]) {
				return history[seen], nil
			}
		}
		select {
		case <-changed:
		case <-r.done:
			return none, fmt.Errorf("wait for %s: the recording has ended", what)
		case <-ctx.Done():
			return none, fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}
