// The container that JupyterLab and Notebook 7 load: module federation by hand.
//
// A bundler would write this file from a manifest and copy every library into it. This
// extension needs no library of its own: what it uses (CodeMirror, Lumino, JupyterLab's
// tokens) the application shares, so that what is left is an object with two methods.
// The modules beside this file are plain ES modules; nothing is built, nothing is fetched
// from elsewhere.
(() => {
  "use strict";
  const here = new URL(".", document.currentScript.src);
  let scope = null;

  // The newest version that anybody shares under a name, loaded.
  const shared = async (name) => {
    const versions = Object.entries((scope && scope[name]) || {});
    if (!versions.length) throw new Error(`aiki-kernel: this application does not share ${name}`);
    const collate = new Intl.Collator("en", { numeric: true });
    versions.sort(([a], [b]) => collate.compare(b, a));
    return (await versions[0][1].get())();
  };

  const modules = {
    "./extension": async () => {
      const { plugins } = await import(new URL("plugins.js", here));
      const extension = { __esModule: true, default: await plugins(shared, here) };
      return () => extension;
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["aiki-kernel"] = {
    init(shareScope) {
      scope = shareScope;
    },
    get(name) {
      if (name in modules) return modules[name]();
      return Promise.reject(new Error(`aiki-kernel has no module ${name}`));
    },
  };
})();
