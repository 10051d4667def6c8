package authz

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
)

// shrink makes a disagreement smaller as long as the two sides still differ.
func (r *referee) shrink(ctx context.Context, d disagreement) (disagreement, error) {
	for {
		var candidates []group
		for _, s := range smaller(d.policies) {
			if !slices.ContainsFunc(s, invalid) {
				candidates = append(candidates, group{d.target, s, []enforcer.Request{d.request}})
			}
		}
		for _, q := range simpler(d.request) {
			candidates = append(candidates, group{d.target, d.policies, []enforcer.Request{q}})
		}
		var t tally
		still, err := r.compare(ctx, candidates, &t)
		if err != nil || len(still) == 0 {
			return d, err
		}
		d = still[0]
	}
}

// smaller returns the sets with one thing less: a policy, the annotations of one, or
// an element of one of its lists.
func smaller(set policySet) []policySet {
	var out []policySet
	for i, p := range set {
		if len(set) > 1 {
			out = append(out, slices.Delete(slices.Clone(set), i, i+1))
		}
		change := func(edit func(*securityv1.AuthorizationPolicy)) {
			s := slices.Clone(set)
			s[i] = p.DeepCopy()
			edit(s[i])
			out = append(out, s)
		}
		if len(p.Annotations) > 0 {
			change(func(p *securityv1.AuthorizationPolicy) { p.Annotations = nil })
		}
		for n, l := range lists(&p.Spec) {
			for k := range l.Len() {
				change(func(p *securityv1.AuthorizationPolicy) { remove(lists(&p.Spec)[n], k) })
			}
		}
	}
	return out
}

// lists returns every list in a message that has an element, also those of the messages
// in it.
func lists(m proto.Message) []protoreflect.List {
	var out []protoreflect.List
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			out = append(out, v.List())
			for i := range v.List().Len() {
				if inner, ok := v.List().Get(i).Interface().(protoreflect.Message); ok {
					out = append(out, lists(inner.Interface())...)
				}
			}
		case f.Message() != nil:
			out = append(out, lists(v.Message().Interface())...)
		}
		return true
	})
	return out
}

// remove takes one element out of a list.
func remove(l protoreflect.List, at int) {
	for i := at; i < l.Len()-1; i++ {
		l.Set(i, l.Get(i+1))
	}
	l.Truncate(l.Len() - 1)
}

// simpler returns the requests with one thing less.
func simpler(q enforcer.Request) []enforcer.Request {
	var out []enforcer.Request
	for i := range q.Header {
		c := q
		c.Header = slices.Delete(slices.Clone(q.Header), i, i+1)
		out = append(out, c)
	}
	for i := 1; i < len(q.Target); i++ {
		c := q
		c.Target = q.Target[:i] + q.Target[i+1:]
		out = append(out, c)
	}
	return out
}

func invalid(p *securityv1.AuthorizationPolicy) bool { return translate.Validate(p) != nil }
