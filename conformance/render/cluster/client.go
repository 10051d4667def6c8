package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// fieldManager is who the server records as the one that applied.
const fieldManager = "artemis"

// Client applies and reads objects of any kind.
type Client struct {
	dynamic   *dynamic.DynamicClient
	discovery *discovery.DiscoveryClient
	mapper    *restmapper.DeferredDiscoveryRESTMapper
}

// NewClient returns a client of the API behind config.
func NewClient(config *rest.Config) (*Client, error) {
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &Client{dynamic: d, discovery: disco, mapper: restmapper.NewDeferredDiscoveryRESTMapper(
		memory.NewMemCacheClient(disco))}, nil
}

// Ready asks the API server whether it serves.
func (c *Client) Ready(ctx context.Context) error {
	return c.discovery.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (c *Client) resource(gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // a CRD may have come since
		m, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(m.Resource).Namespace(namespace), nil
	}
	return c.dynamic.Resource(m.Resource), nil
}

// Apply does what `kubectl apply --server-side --force-conflicts
// --validate=strict` does with one object: an unknown or repeated field is an
// error.
func (c *Client) Apply(ctx context.Context, o *unstructured.Unstructured) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("apply %s: %w", Name(o), err)
	}
	r, err := c.resource(o.GroupVersionKind(), o.GetNamespace())
	if err == nil {
		_, err = r.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{
			FieldManager: fieldManager, Force: new(true), FieldValidation: metav1.FieldValidationStrict})
	}
	if err != nil {
		return fmt.Errorf("apply %s: %w", Name(o), err)
	}
	return nil
}

// MergePatch does what `kubectl patch --type merge` does.
func (c *Client) MergePatch(ctx context.Context, gvk schema.GroupVersionKind, namespace, name, patch string) error {
	r, err := c.resource(gvk, namespace)
	if err == nil {
		_, err = r.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: fieldManager,
			FieldValidation: metav1.FieldValidationStrict})
	}
	if err != nil {
		return fmt.Errorf("patch %s %s/%s: %w", gvk.Kind, namespace, name, err)
	}
	return nil
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, gvk schema.GroupVersionKind, namespace,
	name string) (*unstructured.Unstructured, error) {
	r, err := c.resource(gvk, namespace)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, name, metav1.GetOptions{})
}

// List reads every object of a kind in a namespace, or in all of them for "".
func (c *Client) List(ctx context.Context, gvk schema.GroupVersionKind, namespace string) ([]unstructured.Unstructured,
	error) {
	r, err := c.resource(gvk, namespace)
	if err != nil {
		return nil, err
	}
	l, err := r.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return l.Items, nil
}

// Delete removes one object; that there is none is fine.
func (c *Client) Delete(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) error {
	r, err := c.resource(gvk, namespace)
	if err == nil {
		err = r.Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s/%s: %w", gvk.Kind, namespace, name, err)
	}
	return nil
}

// Name names an object for a reader.
func Name(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Files lists the YAML files under a path, in the order of their names.
func Files(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (filepath.Ext(p) == ".yaml" || p == path) {
			files = append(files, p)
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

// Read reads the objects of a file, strictly: a repeated key is an error.
func Read(file string) ([]*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	objects, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return objects, nil
}

// Parse reads the objects of a YAML stream.
func Parse(raw []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		var o map[string]any
		if err := yaml.UnmarshalStrict(document, &o); err != nil {
			return nil, err
		}
		if len(o) > 0 {
			objects = append(objects, &unstructured.Unstructured{Object: o})
		}
	}
}

// ApplyPath applies every object of a file or of the YAML files of a folder.
func (c *Client) ApplyPath(ctx context.Context, path string) error {
	files, err := Files(path)
	if err != nil {
		return fmt.Errorf("apply %s: %w", path, err)
	}
	for _, f := range files {
		objects, err := Read(f)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := c.Apply(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
	}
	return nil
}
