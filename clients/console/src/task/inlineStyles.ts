/**
 * Styles that xterm.js writes as text, under a policy that allows none in markup.
 *
 * It fills `<style>` elements for its theme and sets `style` attributes for colours, and the page's policy stops both:
 * a script of someone else's could do the same. What is set through the object model is no markup. So from here on such an
 * element's text becomes a constructed style sheet of the document, and such an attribute the element's `style`. Call it
 * before the first terminal is opened; a second time does nothing.
 */
export function allowInlineStyles(): void {
  if (allowed) return;
  allowed = true;

  const setAttribute = Element.prototype.setAttribute;
  HTMLElement.prototype.setAttribute = function (this: HTMLElement, name: string, value: string) {
    if (name === "style") this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };

  const createElement = document.createElement;
  document.createElement = ((name: string, options?: ElementCreationOptions) =>
    name === "style"
      ? styleSheet(createElement)
      : createElement.call(document, name, options)) as typeof createElement;
}

let allowed = false;

/**
 * Stands for a `<style>` element: its text is that of a constructed sheet, which goes when it is removed.
 *
 * It is none itself, for browsers judge those by the policy as soon as they are in the page, empty or not.
 */
function styleSheet(createElement: typeof document.createElement): HTMLElement {
  const element = createElement.call(document, "template");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set(given: string) {
      text = given;
      sheet.replaceSync(given);
    },
  });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
}
